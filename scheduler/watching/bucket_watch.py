"""One watched folder of a bucket over time: listed, and admitted object by object once two listings agree on it.

An object is one content, which its etag names. Nothing is read here but the first bytes of what may be a transport
stream, and no settings file: only the operator's tables say what holds in a bucket.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path

from dropscribe.core.bucket_client import Bucket, ListedObject
from dropscribe.core.bucket_names import BucketFolder, mark_of
from dropscribe.core.errors import BucketAwayError, SourceMissingError
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.ignore import NameKind, classify, ignored_directory, is_transcript
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.scanning.transport_stream import HEAD_BYTES, is_transport_stream
from dropscribe.scheduler.watching import outages
from dropscribe.scheduler.watching.admission import NOT_IN_BUCKETS
from dropscribe.scheduler.watching.folder_rules import read_folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.scheduler.watching.root_watch import MAX_UNREADABLE, REST_FACTOR, Admit
from dropscribe.scheduler.watching.stability import Stability
from dropscribe.store import file_marks
from dropscribe.store.roots import RootReport, UnreadablePlace
from dropscribe.store.session import Database

FILESYSTEM = "s3"  # how a bucket is called among filesystems


@dataclass
class Listing:
    """What one listing found: recordings by their path below the folder, and how much was left out."""

    files: dict[str, Observation] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    ignored: int = 0

    @property
    def not_media(self) -> int:
        """How many objects are neither recordings nor named after one, as its transcripts are."""
        stems = {path.rpartition(".")[0] for path in self.files}
        return sum(not is_transcript(path, self.files, stems) for path in self.others)

    def add(self, path: str, found: ListedObject) -> None:
        """Take in an object at a path below the folder; what stands for a folder is not one."""
        *folders, name = path.split("/")
        kind = classify(name)
        if not name:
            return
        if any(map(ignored_directory, filter(_is_named, folders))):
            self.ignored += 1
        elif kind is NameKind.NOT_MEDIA:
            self.others.append(path)
        elif kind is NameKind.IGNORED_PATTERN:
            self.ignored += 1
        else:
            self.files[path] = Observation(found.size, found.moment)
            self.etags[path] = found.etag


def _is_named(part: str) -> bool:
    """Is it more than dots? `..` is a name like any other in a key, and hides nothing."""
    return bool(part.strip("."))


@dataclass
class BucketWatch:
    """The state of one folder of a bucket; `rest` is in seconds, until the next look."""

    folder: BucketFolder
    settings: Settings
    database: Database
    known: Callable[[str], Mapping[str, tuple[int, int]]]
    admit: Admit
    stop: threading.Event = field(default_factory=threading.Event)
    rest: float = 0.0
    report: RootReport = field(init=False)
    _bucket: Bucket = field(init=False)
    _stability: Stability | None = None
    _unstorable: dict[str, UnreadablePlace] = field(default_factory=dict)
    _away: int = 0

    def __post_init__(self) -> None:
        """Nothing is known before the first look. Raises UsageError where buckets cannot be used."""
        self._bucket = Bucket(self.settings, self.folder.bucket)
        self.report = outages.offline(self.folder.url, FILESYSTEM, outages.UNSEEN)

    def look(self, now: float) -> None:
        """List, admit what is complete, and set `rest` and `report`; `now` is on the monotonic clock.

        Raises what `admit` and `known` raise.
        """
        self.rest = outages.RETRY_SECONDS
        began = time.monotonic()
        try:
            found = self._listed()
            took = time.monotonic() - began
            stability = self._settled()
            complete = self._new(found, stability, stability.observe(found.files, now, took=math.floor(took)))
        except BucketAwayError as error:
            self._note_away(error)
            return
        self._away = 0
        if complete:
            folders = read_folders(self.settings, Path(self.folder.url), {}, NOT_IN_BUCKETS)
            with stability.forgetting_on_error(complete):
                refused = self.admit(self.folder.url, [*starmap(WholeRecording, complete.items())], (), folders)
            self._unstorable |= {path: UnreadablePlace(path, one.problem, one.remedy) for path, one in refused.items()}
        self._note(found, stability, took)

    def _listed(self) -> Listing:
        """All objects of the folder. Raises BucketAwayError, also where it is to end: half a listing says nothing."""
        found = Listing()
        for page in self._bucket.listed(self.folder):
            if self.stop.is_set():
                raise BucketAwayError(f"{self.folder.url} is not listed to its end, as the scheduler stops")
            for one in page:
                found.add(one.key.removeprefix(self.folder.start), one)
        return found

    def _settled(self) -> Stability:
        """What is known of which objects stay as they are; after the start, what the store knows."""
        if self._stability is None:
            known = {path: Observation(*seen) for path, seen in self.known(self.folder.url).items()}
            self._stability = Stability(self.settings.stable_seconds_network, known)
        return self._stability

    def _new(self, found: Listing, stability: Stability, complete: Collection[str]) -> dict[str, Observation]:
        """Those objects that are recordings of a content which was not read yet."""
        with stability.forgetting_on_error(complete):
            read = file_marks.read(self.database, self.folder.url, complete)
            same = {path for path, file in read.items() if file.mark.fingerprint == mark_of(found.etags[path])}
            return {path: found.files[path] for path in self._recordings(complete) if path not in same}

    def _recordings(self, paths: Iterable[str]) -> Iterable[str]:
        """Without what has only the ending of a transport stream."""
        for path in paths:
            if classify(path.rpartition("/")[2]) is NameKind.ADMIT or self._is_stream(path):
                yield path

    def _is_stream(self, path: str) -> bool:
        """Does the object begin like a transport stream? One that may not be read is admitted, and its job says why."""
        with suppress(SourceMissingError):
            return is_transport_stream(self._bucket.head(self.folder.key(path), HEAD_BYTES))
        return True

    def _note(self, found: Listing, stability: Stability, took: float) -> None:
        """Report what was seen, and decide when to look again."""
        due = stability.due(time.monotonic())
        interval = self.settings.of(S3).list_seconds
        self.rest = max(REST_FACTOR * took, interval if due is None else min(interval, due), 1.0)
        self._unstorable = {path: one for path, one in self._unstorable.items() if path in found.files}
        before = self.report
        self.report = RootReport(
            path=self.folder.url,
            host=socket.gethostname(),
            filesystem=FILESYSTEM,
            online=True,
            files=len(found.files),
            pending=len(stability.pending),
            not_media=found.not_media,
            ignored=found.ignored,
            scan_seconds=took,
            unreadable=[*self._unstorable.values()][:MAX_UNREADABLE],
            unreadable_count=len(self._unstorable),
        )
        outages.log_change(before, self.report)

    def _note_away(self, error: BucketAwayError) -> None:
        """Note why the bucket is out of reach, and wait longer each time."""
        self._away += 1
        self.rest = outages.retry_seconds(self._away)
        before, self.report = self.report, outages.offline(self.folder.url, FILESYSTEM, str(error))
        outages.log_change(before, self.report)

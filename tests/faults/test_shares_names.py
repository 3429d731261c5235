"""Names that shares bring: any bytes, of any length, alike but for case or Unicode normalization."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.scanner import Scanner
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import jobs, queries
from dropscribe.store.roots import list_roots, report_roots
from dropscribe.store.session import Database
from tests.faults.conftest import MakeWatched
from tests.faults.shares import Share

NAMES = [
    b"caf\xe9.wav",  # Latin-1
    b"\xff\xfe.wav",
    b"x" * 251 + b".wav",
    ("é" * 125).encode() + b"x.wav",  # 255 bytes, 130 characters
    b"A.wav",
    b"a.wav",
    b"a.WAV",
    unicodedata.normalize("NFC", "Müller.wav").encode(),
    unicodedata.normalize("NFD", "Müller.wav").encode(),
    b"line\nfeed.wav",
    b'quote"back\\slash.wav',
    b" .wav",
    "\N{RIGHT-TO-LEFT OVERRIDE}vaw.wav".encode(),
]


def put_all(folder: Path) -> set[bytes]:
    for number, name in enumerate(NAMES):
        with open(os.fsencode(folder) + b"/" + name, "xb") as file:
            file.write(b"s" * (number + 1))
    return set(NAMES)


def test_every_name_becomes_one_job_of_its_own_and_leads_back_to_its_file(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path.resolve()) + b"/in\xdfbox"))
    root.mkdir()
    names = put_all(root)
    doorbell = Doorbell(settings)

    def watch() -> RootWatch:
        return RootWatch(
            root,
            settings,
            FileEventWatcher(),
            lambda one: jobs.known(database, one),
            lambda one, whole, gone, folders: admission.admit(database, doorbell, folders, one, whole, gone).refused,
            frozenset(),
        )

    for _ in range(2):  # and none again after a restart
        watched = watch()
        for moment in (0.0, 30.0, 60.0):
            watched.look(moment)
        report_roots(database, [watched.report])
        watched.close()
    doorbell.close()
    found = queries.list_jobs(database)
    assert {os.fsencode(job.path) for job in found} == names
    assert len(found) == len(names)
    sizes = [os.stat(job.source).st_size for job in found]
    assert sorted(sizes) == list(range(1, len(names) + 1)), "none stands for another"
    (report,) = list_roots(database)
    assert (report.path, report.online, report.files) == (str(root), True, len(names))


def test_every_name_passes_through_a_share(share: Share, over: MakeWatched) -> None:
    names = put_all(share.server)
    watched = over(share.path)
    watched.look(0.0, 30.0)
    assert {os.fsencode(name) for name in watched.admitted} == names


@pytest.mark.parametrize("name", [b"caf\xe9", b"line\nfeed", b"d" * 255])
def test_a_place_that_cannot_be_read_is_reported_whatever_its_name(
    share: Share, over: MakeWatched, database: Database, name: bytes
) -> None:
    os.mkdir(os.fsencode(share.server) + b"/" + name)
    share.put("a.wav")
    share.tell(fail=os.fsdecode(name), errno=errno.EIO)
    watched = over(share.path)
    watched.look(0.0)
    report_roots(database, [watched.watch.report])
    (report,) = list_roots(database)
    assert report.online
    assert report.unseen.endswith("/: Input/output error")


def test_a_scanner_looks_at_files_of_any_name(tmp_path: Path) -> None:
    put_all(tmp_path)
    names = [os.fsdecode(name) for name in NAMES]
    one = Scanner()
    seen = one.look(tmp_path, names)
    one.close()
    assert [found.size if found else None for found in seen] == list(range(1, len(names) + 1))

"""The open folder that a job's files go to: that of the recording as it was read, or one below a folder for results.

It is reached from the folder in which the recording was read, which is recognized by its inode. Anyone who renames that
folder and makes another of its name gets nothing, and no link is followed.
"""

from __future__ import annotations

import errno
import grp
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from operator import eq
from pathlib import Path, PurePath

from dropscribe.core import access, origin
from dropscribe.core.access import ALL, READ, READ_WRITE, ROOT, Access
from dropscribe.core.bucket_names import is_in_bucket, local_folder
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import OtherFolderError, OutputError, SettingsError, WithheldError
from dropscribe.core.open_folder import at, opened
from dropscribe.core.origin import RecordingOrigin
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.store.queries import Job

_NO_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})  # what open() says of a link or a file in the place of a folder
_ANOTHER = _NO_FOLDER | {errno.ENOENT}
RESULTS_MODE = 0o755  # of a folder for results that is made: everybody's are below it


@dataclass(frozen=True, slots=True)
class Destination:
    """`folder` is what people call it, and `here` leads to it; `readers` may read a file in it.

    A copy `is_asked_for` by name: it is written even where more people could read it.
    """

    folder: Path
    here: Path
    readers: Access
    is_asked_for: bool = False

    def at(self, target: Path) -> Path:
        """The way to a file in it."""
        return self.here / target.name


@contextmanager
def destination(job: Job, settings: Settings) -> Iterator[Destination]:
    """Where workers put a job's files: where its folder's settings say, else in the mirror, else beside the recording.

    Missing folders are made, and follow those that they mirror. Raises OtherFolderError where the recording's folder
    is not there any more, and OutputError.
    """
    with _open(job, settings, make=True) as found:
        yield found


@contextmanager
def existing(job: Job, settings: Settings) -> Iterator[Destination]:
    """The same, where nothing is made. Raises OutputError also where it is not there."""
    with _open(job, settings, make=False) as found:
        yield found


@contextmanager
def written(job: Job, file: Path, settings: Settings) -> Iterator[Path]:
    """The way to a file that was written for the job, at a path of current or earlier settings. Raises OutputError."""
    _require_folders(job)
    with ExitStack() as stack:
        if file.is_relative_to(job.root):
            way = stack.enter_context(_way_to(job))
            there = _enter(stack, job, file.parent, way, settings.results, make=False)
        else:
            there = stack.enter_context(_opened_results(file.parent, settings.results))
        yield at(there, file.name)


@contextmanager
def _opened_results(folder: Path, results: Path | None) -> Iterator[int]:
    """The descriptor of a folder for results, opened from the topmost one that is known. Raises OutputError."""
    top = results if results and folder.is_relative_to(results) else folder
    with translated(OSError, into=partial(_unreachable, folder)), opened(top, folder.relative_to(top)) as there:
        yield there


@contextmanager
def _open(job: Job, settings: Settings, *, make: bool) -> Iterator[Destination]:
    """The folder for a job's files, reached from its recording. Raises OutputError, WithheldError."""
    folder = folder_of(job, settings.results)
    with ExitStack() as stack:
        way = stack.enter_context(_way_to(job))
        there = _enter(stack, job, folder, way, settings.results, make=make)
        if job.overrides.folder and not folder.is_relative_to(Path(job.root, job.home)):
            _require_closed(folder, access.of(there), access.of(way[-1]))
        yield Destination(folder, at(there), _readers(job, way, settings))


def _require_closed(folder: Path, found: Access, home: Access) -> None:
    """A chosen folder for results is not readable by more people than the folder of the recording."""
    mine = READ_WRITE if found.uid in {ROOT, os.geteuid()} else dict(home.users).get(found.uid, home.other)
    if found.exceeds(home.owned_by(found.uid, found.gid, mine)):
        raise WithheldError(
            f"more people can read {printable(str(folder))} than the folder of the recording",
            remedy="close it to them, or choose other `results`",
        )


@contextmanager
def copies(job: Job, to: Path) -> Iterator[Destination]:
    """The mirror of a job's root under `to`, for copies that somebody wants to have. Raises OutputError.

    The recording need not be there any more.
    """
    folder, readers = _mirrored(job, to), _for_oneself(job)
    # Who may read what lies in a folder may enter it.
    asked = (readers.owner, readers.group, readers.other)
    owner, group, other = (permissions | bool(permissions & READ) for permissions in asked)
    enter = replace(readers, owner=owner, group=group, other=other)
    with translated(OSError, into=partial(_unreachable, folder)):
        _make(to)
        with ExitStack() as stack:
            below = folder.relative_to(to)
            # Of a folder nothing is said: what is written into it says the same.
            give = partial(access.give, wanted=enter, own=ALL, doubt=lambda _: None)
            there = stack.enter_context(opened(to, below, make=lambda _level, _above, made: give(made)))
            yield Destination(folder, at(there), readers, is_asked_for=True)


def of_copy(target: Path, job: Job | None = None) -> Destination:
    """The folder of a file that somebody wants to have, made if it is missing; of no one job, it is for them alone."""
    with translated(OSError, into=partial(_unreachable, target.parent)):
        target.parent.mkdir(parents=True, exist_ok=True)
    return Destination(target.parent, target.parent, _for_oneself(job), is_asked_for=True)


def _for_oneself(job: Job | None) -> Access:
    """Who may read a copy: who could read the recording, where that is one's own; else only oneself."""
    if job and job.origin and job.origin.access.uid == os.geteuid():
        return job.origin.access.for_file()
    return Access(
        uid=os.geteuid(),
        gid=os.getegid(),
        owner=READ_WRITE,
        group=0,
        other=0,
    )


def folder_of(job: Job, results: Path | None) -> Path:
    """The path of that folder."""
    if job.overrides.folder:
        return Path(job.overrides.folder)
    return _mirrored(job, results) if results else Path(job.source).parent


def _mirrored(job: Job, top: Path) -> Path:
    """The folder below `top` that corresponds to the recording's in its root."""
    if is_in_bucket(job.root):
        return top / local_folder(Path(job.root).name) / local_folder(job.path.rpartition("/")[0])
    return top / (Path(job.root).name or "files") / job.home


def _require_folders(job: Job) -> None:
    """Raise OtherFolderError for a recording in a bucket: no name of an object is a path of this machine."""
    if is_in_bucket(job.root):
        raise OtherFolderError(f"{printable(job.source)} lies in a bucket", remedy="name a folder with --to")


@contextmanager
def _way_to(job: Job) -> Iterator[list[int]]:
    """Descriptors of the folders from the root down to the one in which the recording was read."""
    _require_folders(job)
    way: list[int] = []
    with ExitStack() as stack:

        def keep(_level: int, folder: int) -> None:
            """Keep a descriptor of a folder on the way, for as long as the block lasts."""
            way.append(os.dup(folder))
            stack.callback(os.close, way[-1])

        try:
            with opened(job.root, job.home, visit=keep):
                known = not job.origin or _is_known(job, job.origin, way)
        except OSError as error:
            if error.errno not in _ANOTHER:
                raise _unreachable(Path(job.root, job.home), error) from error
            known = False
        if not known:
            raise OtherFolderError(
                f"the folder of {job.path} is gone, or another one has its name", remedy="bring that folder back"
            )
        yield way


def _is_known(job: Job, read_at: RecordingOrigin, way: Sequence[int]) -> bool:
    """Is it the folder in which the recording was read, or does the recording still lie below it?"""
    same = origin.id_of(way[-1], os.fstat(way[0]).st_dev) == read_at.folder
    return same or any(_holds(job, read_at, way[-1], place) for place in _places(job))


def _places(job: Job) -> list[PurePath]:
    """Where the recording lies, seen from the folder in which it was read: where it was archived, or still there."""
    return [*dict.fromkeys((PurePath(job.path).parent.relative_to(job.home), PurePath()))]


def _holds(job: Job, read_at: RecordingOrigin, home: int, place: PurePath) -> bool:
    """Does the recording lie in that folder now?"""
    with suppress(OSError), opened(at(home), place) as folder:
        return origin.holds(folder, PurePath(job.path).name, read_at)
    return False


def _enter(stack: ExitStack, job: Job, folder: Path, way: Sequence[int], results: Path | None, *, make: bool) -> int:
    """Open the folder from the nearest one on the way, else from that for results."""
    top, below = _start(job, folder, way, results)
    depth = len(below.parts)

    def follow(level: int, _above: int, made: int) -> None:
        """Give a folder that was made the readers of its counterpart among the recordings."""
        like = way[max(0, len(way) - 1 - (depth - level))]  # the last is like the recording's folder, and so upwards
        access.give(made, access.of(like), own=ALL)

    try:
        if make:
            _make(top)
        return stack.enter_context(opened(top, below, make=follow if make else None))
    except OSError as error:
        refusal = _leads_out(job, folder) if error.errno in _NO_FOLDER else _unreachable(folder, error)
        raise refusal from error


def _start(job: Job, folder: Path, way: Sequence[int], results: Path | None) -> tuple[Path, PurePath]:
    """From where the folder is reached, and how from there."""
    if folder.is_relative_to(job.root):
        names = folder.relative_to(job.root).parts
        shared = sum(takewhile(bool, map(eq, names, PurePath(job.home).parts)))
        return at(way[shared]), PurePath(*names[shared:])
    if results and folder.is_relative_to(results):
        return results, folder.relative_to(results)
    raise _leads_out(job, folder)


def _make(top: Path) -> None:
    """A folder for results that is not there yet; everybody may enter it, and what is below follows its model."""
    if not top.exists():
        _make(top.parent)
        top.mkdir(exist_ok=True)
        top.chmod(RESULTS_MODE)


def _leads_out(job: Job, folder: Path) -> OutputError:
    """The error for a folder that is reached through a link."""
    return OutputError(
        f"{printable(str(folder))} leads out of {printable(job.root)}, by a link or a file on the way",
        remedy="put folders there",
    )


def _unreachable(folder: Path, error: OSError) -> OutputError:
    """The error for a folder that cannot be written to, or is gone."""
    if error.errno == errno.ENOENT:
        return OtherFolderError(f"{printable(str(folder))} is gone", remedy="bring that folder back")
    return OutputError(
        f"cannot write into {printable(str(folder))}: {error.strerror}",
        remedy="see that it is a folder, writable and not full",
    )


def _readers(job: Job, way: Sequence[int], settings: Settings) -> Access:
    """Who may read the transcript: who can read the recording, unless the operator says otherwise."""
    found = next(filter(None, (_seen(job, way[-1], place) for place in _places(job))), None)
    known = found or (job.origin.access if job.origin else access.of(way[-1]))
    mode = int(settings.output_mode, 8) if settings.output_mode else None
    return known.having(mode=mode, gid=_group(settings.output_group)).for_file()


def _seen(job: Job, home: int, place: PurePath) -> Access | None:
    """Who may read the recording, if it is the one that lies in this place of its folder."""
    with suppress(OSError), opened(at(home), place) as folder:
        return origin.readers(folder, PurePath(job.path).name, job.origin)
    return None


def _group(name: str) -> int | None:
    """The number of a group. Raises SettingsError for one that this machine does not know.

    >>> _group("100"), _group("")
    (100, None)
    """
    if not name or name.isdigit():
        return int(name) if name else None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SettingsError(
            f"output_group = {name}: there is no such group here", remedy="make it, or name another"
        ) from error

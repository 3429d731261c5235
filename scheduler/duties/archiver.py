"""Puts recordings away once their job ended: into `done` or `failed`, where their folder wants that.

Done by the scheduler, whose process may hang in a share without harm. Every step may be repeated: the row says where a
recording is to go before it goes, and a look at both places tells how far that came.
"""

from __future__ import annotations

import logging
from pathlib import PurePosixPath

from dropscribe.core import reserved_names
from dropscribe.core.recording_parts import RecordingPart
from dropscribe.scheduler.scanning import move as move_in_root
from dropscribe.scheduler.scanning.move import MovedFile
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import recording_moves
from dropscribe.store.recording_moves import Move
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

MARK = "dropscribe could not transcribe"  # how the file beside a recording that failed begins


def put_away(database: Database, watch: RootWatch) -> None:
    """Move what is due in this root. Raises StoreError, ScannerStoppedError."""
    if not watch.report.online:
        return
    try:
        due = recording_moves.due(database, str(watch.place))
        watch.held = [move.path for move in due if not _put_away(database, watch, move)]
    except RootOfflineError as error:  # the next look will tell; what is due stays so
        log.info("nothing is archived: %s", error)


def _put_away(database: Database, watch: RootWatch, move: Move) -> bool:
    """False for a recording that somebody writes to: it is tried again."""
    file = MovedFile(move.size, move.mtime_ns, move.fingerprint, not watch.is_network)
    why, to = _put_parts_away(database, watch, move, file), move.path
    for to in () if why else _names(move):
        if not recording_moves.aim(database, move, to):
            return True
        why = "" if to == move.path else watch.scanner.move(watch.place, move.path, to, file)
        if why != reserved_names.TAKEN:
            break
    if why == move_in_root.WRITTEN:
        return False
    if why:
        log.warning("%s stays where it is: %s", watch.place / move.path, why)
        recording_moves.stays(database, move, why)
        watch.trouble = _trouble(watch, move, why)
    else:
        _arrived(database, watch, move, to)
    return True


def _put_parts_away(database: Database, watch: RootWatch, move: Move, first: MovedFile) -> str:
    """Move the further files of a recording, before the first; why one stays, empty when none does.

    None goes before all were looked at, so that one which changed, or is written to, does not tear them apart. One that
    is gone, without which the recording may have been transcribed, keeps the others from nothing.
    """
    parts = [part for part in move.parts if reserved_names.shelf_of(part.path) != move.shelf]
    left = {part: MovedFile(part.size, part.mtime_ns, part.fingerprint, not watch.is_network) for part in parts}
    looks = [(move.path, first), *((part.path, file) for part, file in left.items())] if left else []
    for path, file in looks:
        if (why := watch.scanner.move(watch.place, path, path, file)) not in {"", move_in_root.GONE}:
            return why
    for part, file in left.items():
        to, why = _move_part(watch, move, part, file)
        if not why:
            recording_moves.part_moved(database, move, part, to)
            watch.went(part.path, to, Observation(part.size, part.mtime_ns))
        elif why != move_in_root.GONE:
            return why
    return ""


def _move_part(watch: RootWatch, move: Move, part: RecordingPart, file: MovedFile) -> tuple[str, str]:
    """Where a further file lies now, and why it stays; an attempt before a crash may have used either name."""
    best, own = reserved_names.shelved(part.path, move.shelf, move.job_id)
    why = watch.scanner.move(watch.place, part.path, best, file)
    if why not in {reserved_names.TAKEN, move_in_root.GONE}:
        return best, why
    return own, watch.scanner.move(watch.place, part.path, own, file)


def _arrived(database: Database, watch: RootWatch, move: Move, to: str) -> None:
    """Note in the folder and in the store that the recording is archived."""
    _leave_word(watch, move, to)
    recording_moves.moved(database, move, to)
    watch.went(move.path, to, Observation(move.size, move.mtime_ns))
    watch.trouble = ""


def _trouble(watch: RootWatch, move: Move, why: str) -> str:
    """What to say of the folder while recordings cannot be archived in it; nothing where one recording is the cause."""
    if why in {move_in_root.GONE, move_in_root.CHANGED, reserved_names.TAKEN}:
        return watch.trouble
    place = PurePosixPath(reserved_names.shelved(move.path, move.shelf, move.job_id)[0]).parent
    return f"{move.path} and others stay where they are: they cannot be moved to {place}: {why}"


def _names(move: Move) -> list[str]:
    """Where the recording may go, best first: where it was to go already, if that is still the right folder."""
    names = (move.to or "", *reserved_names.shelved(move.path, move.shelf, move.job_id))
    return [name for name in dict.fromkeys(names) if reserved_names.shelf_of(name) == move.shelf]


def _leave_word(watch: RootWatch, move: Move, to: str) -> None:
    """Beside a recording that failed, why; and no such word any more beside one that came through."""
    if move.failed:
        name = PurePosixPath(to).name
        text = f"{MARK} {name}:\n\n{move.reason}\n\nTo have it tried again, fix the cause and move it back.\n"
        watch.put({reserved_names.reason_file(to): text}, MARK)
    else:
        word = reserved_names.shelved(move.path, reserved_names.FAILED, move.job_id)[0]
        watch.put({reserved_names.reason_file(word): None}, MARK)

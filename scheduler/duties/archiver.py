"""Puts recordings away once their job ended: into `done` or `failed`, where their folder wants that.

Done by the scheduler, whose process may hang in a share without harm. Every step may be repeated: the row says where a
recording is to go before it goes, and a look at both places tells how far that came.
"""

from __future__ import annotations

import logging
from pathlib import PurePosixPath

from dropscribe.core import reserved_names
from dropscribe.scheduler.scanning import move as move_in_root
from dropscribe.scheduler.scanning.roots import RootOfflineError
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
        for move in recording_moves.due(database, str(watch.place)):
            _put_away(database, watch, move)
    except RootOfflineError as error:  # the next look will tell; what is due stays so
        log.info("nothing is put away: %s", error)


def _put_away(database: Database, watch: RootWatch, move: Move) -> None:
    why = ""
    for to in _names(move):
        if not recording_moves.aim(database, move, to):
            return
        why = "" if to == move.path else watch.scanner.move(watch.place, move.path, to, (move.size, move.mtime_ns))
        if not why:
            _leave_word(watch, move, to)
            recording_moves.moved(database, move, to)
            watch.forget(move.path)
            watch.trouble = ""
            return
        if why != reserved_names.TAKEN:
            break
    log.warning("%s stays where it is: %s", watch.place / move.path, why)
    recording_moves.stays(database, move, why)
    watch.trouble = _trouble(watch, move, why)


def _trouble(watch: RootWatch, move: Move, why: str) -> str:
    """What to say of the folder while recordings cannot be archived in it; nothing where one recording is the cause."""
    if why in {move_in_root.GONE, move_in_root.CHANGED, reserved_names.TAKEN}:
        return watch.trouble
    shelf = reserved_names.FAILED if move.failed else reserved_names.DONE
    place = PurePosixPath(reserved_names.shelved(move.path, shelf, move.job_id)[0]).parent
    return f"{move.path} and others stay where they are, for they cannot be moved to {place}: {why}"


def _names(move: Move) -> list[str]:
    """Where the recording may go, best first: where it was to go already, if that is still the right folder."""
    shelf = reserved_names.FAILED if move.failed else reserved_names.DONE
    names = (move.to or "", *reserved_names.shelved(move.path, shelf, move.job_id))
    return [name for name in dict.fromkeys(names) if reserved_names.shelf_of(name) == shelf]


def _leave_word(watch: RootWatch, move: Move, to: str) -> None:
    """Beside a recording that failed, why; and no such word any more beside one that came through."""
    if move.failed:
        name = PurePosixPath(to).name
        text = f"{MARK} {name}:\n\n{move.reason}\n\nTo have it tried again, mend the cause and move it back.\n"
        watch.put({reserved_names.reason_file(to): text}, MARK)
    else:
        word = reserved_names.shelved(move.path, reserved_names.FAILED, move.job_id)[0]
        watch.put({reserved_names.reason_file(word): None}, MARK)

"""One file that holds the whole store, and the store made of it again."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url, select

from dropscribe.core.atomic_write import sync, write_new
from dropscribe.core.errors import StoreError
from dropscribe.core.exclusive_placement import give_name
from dropscribe.core.safe_text import mask
from dropscribe.core.settings import sqlite_file
from dropscribe.store.session import Database, open_database
from dropscribe.store.tables import jobs

BESIDE = ("-wal", "-shm")  # what SQLite keeps beside its file; to another file it would do harm


def known_jobs(database: Database) -> frozenset[str]:
    """The ids of all jobs."""
    with database.read() as connection:
        return frozenset(connection.execute(select(jobs.c.id)).scalars())


def dump(url: str, target: Path) -> None:
    """Write all of the store at `url` to a new file, readable by its owner alone, while others may work on it.

    Raises StoreError.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with _translated(target), _removed(part):
        write_new(part, b"", mode=0o600)
        if source := sqlite_file(url):
            _copy(source, part)
        else:
            _run("pg_dump", url, "--format=custom", f"--file={part}")
        sync(part)
        give_name(part, target)
        sync(target.parent)


def restore(url: str, source: Path) -> Path | None:
    """Replace the store at `url`, which nobody may use, by what `dump` wrote, brought to this version.

    Returns where an SQLite store that was there lies now. Raises StoreError, and leaves all as it was.
    """
    target = sqlite_file(url)
    if target is None:
        _run("pg_restore", url, "--clean", "--if-exists", "--no-owner", "--single-transaction", str(source))
        open_database(url).close()
        return None
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    coming = target.with_name(f"{target.name}.restoring")
    with _translated(target), _removed(coming):
        write_new(coming, b"", mode=0o600)
        _copy(source, coming)
        open_database(f"sqlite:///{coming}").close()
        aside = _put_aside(target)
        coming.replace(target)
    return aside


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"cannot write {target}: {error.strerror}"
        raise StoreError(problem, remedy="see that its folder may be written and has room") from error


@contextmanager
def _removed(part: Path) -> Iterator[None]:
    """Leave nothing of a file and its log under that name."""
    try:
        yield
    finally:
        for name in ("", *BESIDE):
            Path(f"{part}{name}").unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """By SQLite's own means: whole, with what its log still holds, however many work on it."""
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as there,
            closing(sqlite3.connect(target)) as here,
        ):
            there.backup(here)
            here.execute("PRAGMA journal_mode = DELETE")  # one file alone, which a medium for reading only may hold
    except sqlite3.Error as error:
        problem = f"cannot copy {source}: {error}"
        raise StoreError(problem, remedy="see that it is a store, and the disk not full") from error


def _put_aside(target: Path) -> Path | None:
    if not target.exists():
        return None
    aside = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
    for name in ("", *BESIDE):  # with its log, which holds what was written last
        if Path(f"{target}{name}").exists():
            Path(f"{target}{name}").rename(f"{aside}{name}")
    return aside


def _run(name: str, url: str, *arguments: str) -> None:
    """A program of PostgreSQL; it gets the password where no list of processes shows it."""
    program = shutil.which(name)
    if program is None:
        raise StoreError(f"there is no {name} here", remedy="install PostgreSQL's client programs")
    parts = make_url(url)
    named = URL.create("postgresql", parts.username, None, parts.host, parts.port, parts.database, parts.query)
    place = named.render_as_string()
    password = {"PGPASSWORD": parts.password} if parts.password else {}
    ended = subprocess.run(  # noqa: S603 (a program of PostgreSQL, no shell)
        [program, f"--dbname={place}", *arguments],
        env=os.environ | password,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise StoreError(f"{name} on {mask(url)}: {ended.stderr.strip()}", remedy="nothing was changed")

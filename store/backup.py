"""One file that holds the whole store, and the store made of it again."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import URL, make_url, select

from dropscribe.core.atomic_write import sync, write_new
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import StoreError
from dropscribe.core.exclusive_placement import give_name
from dropscribe.core.passwords import mask
from dropscribe.core.store_settings import sqlite_file
from dropscribe.store.session import HEAD, Database, open_database
from dropscribe.store.tables import VERSION, jobs

BESIDE = ("-wal", "-shm")  # what SQLite keeps beside its file; to another file it would do harm
DUMPED_VERSION = re.compile(r"^COPY .* FROM stdin;\n(\S+)$", re.MULTILINE)


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
            _run_on(url, "pg_dump", "--format=custom", f"--file={part}")
        sync(part)
        give_name(part, target)
        sync(target.parent)


def restore(url: str, source: Path) -> Path | None:
    """Replace the store at `url`, which nobody may use, by what `dump` wrote, brought to this version.

    Returns where an SQLite store that was there lies now. Raises StoreError, and leaves all as it was: also on
    PostgreSQL for a backup whose tables are of another version than those that it would replace.
    """
    target = sqlite_file(url)
    if target is None:
        _require_fitting(url, source)
        _run_on(url, "pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", str(source))
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


def _translated(target: Path) -> AbstractContextManager[None]:
    """Raise StoreError for a backup that cannot be written."""
    return explained(
        OSError, StoreError, f"cannot write {target}", remedy="check that its folder is writable and has free space"
    )


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
    with (
        explained(
            sqlite3.Error,
            StoreError,
            f"cannot copy {source}",
            remedy="check that it is a store, and that the disk is not full",
        ),
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as there,
        closing(sqlite3.connect(target)) as here,
    ):
        there.backup(here)
        here.execute("PRAGMA journal_mode = DELETE")  # one file alone, which a medium for reading only may hold


def _put_aside(target: Path) -> Path | None:
    """Rename the store that is there, with its log; returns its new name, None where there is none."""
    if not target.exists():
        return None
    aside = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
    for name in ("", *BESIDE):  # with its log, which holds what was written last
        if Path(f"{target}{name}").exists():
            Path(f"{target}{name}").rename(f"{aside}{name}")
    return aside


def _require_fitting(url: str, source: Path) -> None:
    """Only tables of one version replace each other; in an empty database, those of an earlier one are migrated."""
    wrote = DUMPED_VERSION.search(_run("pg_restore", "--data-only", f"--table={VERSION.name}", "--file=-", str(source)))
    if wrote is None:
        raise StoreError(f"{source} is not a backup of a store", remedy="name a file that `dropscribe backup` wrote")
    with closing(Database(url)) as database:
        there = database.version()
    if wrote[1] > HEAD:
        problem = f"a newer dropscribe wrote {source} (tables {wrote[1]}, this program's {HEAD})"
        raise StoreError(problem, remedy="restore it with that version")
    if there not in {None, wrote[1]}:
        problem = f"another version of dropscribe wrote {source} (tables {wrote[1]}, those in {mask(url)} {there})"
        raise StoreError(
            problem, remedy="create an empty database, name it in DROPSCRIBE_DATABASE_URL, restore into it"
        )


def _run_on(url: str, name: str, *arguments: str) -> None:
    """A program of PostgreSQL on a database; it gets the password where no list of processes shows it."""
    parts = make_url(url)
    password = parts.password or parts.query.get("password")
    rest = parts.difference_update_query(["password"])
    named = URL.create("postgresql", rest.username, None, rest.host, rest.port, rest.database, rest.query)
    given = {"PGPASSWORD": str(password)} if password else {}
    _run(name, f"--dbname={named.render_as_string()}", *arguments, where=f" on {mask(url)}", environment=given)


def _run(name: str, *arguments: str, where: str = "", environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """What the program says. Raises StoreError."""
    program = shutil.which(name)
    if program is None:
        raise StoreError(f"there is no {name} here", remedy="install PostgreSQL's client programs")
    ended = subprocess.run(  # noqa: S603 (a program of PostgreSQL, no shell)
        [program, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise StoreError(f"{name}{where}: {ended.stderr.strip()}", remedy="nothing was changed")
    return ended.stdout

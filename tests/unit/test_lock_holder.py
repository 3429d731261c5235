"""The holder of SQLite's write lock is named, and asking for him changes nothing."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dropscribe.core.errors import StoreUnavailableError
from dropscribe.store import session
from dropscribe.store.lock_holder import holder
from dropscribe.store.session import Database

WRITES = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT * FROM things").fetchall()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A database in use."""
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE things (name)")
    yield path
    connection.close()


def busy(path: Path, begin: str) -> subprocess.Popen[str]:
    """A process in the middle of a transaction."""
    command = [sys.executable, "-c", WRITES, str(path), begin]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_writer_is_named_also_when_it_is_stopped_and_nobody_when_it_is_gone(path: Path) -> None:
    assert holder(path) == ""
    writer = busy(path, "BEGIN IMMEDIATE")
    name = f"process {writer.pid} ({psutil.Process(writer.pid).name()})"
    assert holder(path) == name
    writer.send_signal(signal.SIGSTOP)
    while psutil.Process(writer.pid).status() != psutil.STATUS_STOPPED:
        pass
    assert holder(path) == f"{name}, which is stopped (`kill -CONT {writer.pid}` wakes it)"
    end(writer)
    assert holder(path) == ""


def test_a_reader_holds_nobody_up_and_is_not_named(path: Path) -> None:
    reader = busy(path, "BEGIN")
    assert holder(path) == ""
    end(reader)


def test_a_store_that_stays_locked_says_by_whom(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "BUSY_MS", 100)
    writer = busy(path, "BEGIN IMMEDIATE")
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailableError, match=f"database is locked by process {writer.pid} "), database.begin():
        pass
    end(writer)
    with database.begin():
        assert holder(path).startswith("process ")
        with pytest.raises(sqlite3.OperationalError, match="locked"):  # asking has not let go of the lock
            sqlite3.connect(path, timeout=0.1, isolation_level=None).execute("BEGIN IMMEDIATE")
    database.close()


def test_where_there_is_no_such_file_nobody_is_named(tmp_path: Path) -> None:
    assert holder(tmp_path / "a.db") == ""

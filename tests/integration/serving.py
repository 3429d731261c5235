"""The server in this process, and a store whose recordings lie in two folders of one watched folder."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.testclient import TestClient

from dropscribe.admin.context import EmbeddedContext
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, TokenRole
from dropscribe.serve import app, service
from dropscribe.serve.gate import Gate
from dropscribe.store import jobs, tokens, transcripts
from dropscribe.store.events import note
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import Database
from dropscribe.store.voices import KnownVoice, enroll
from tests.e2e.harness import wait_until
from tests.integration import console

OURS, THEIRS = "hr", "legal"  # folders below the watched one
SECRET = "zebra"  # is in every name and text of what lies in the second one


@dataclass(frozen=True)
class World:
    """A recording with a transcript in each folder, and one of ours that has the content of theirs."""

    root: Path
    ours: str
    theirs: str
    same: str

    @property
    def our_folder(self) -> str:
        return str(self.root / OURS)


def watched(database: Database, root: Path, *, host: str = "", online: bool = True) -> None:
    """Report the folder as a scheduler does: that of this host, or of another."""
    report_roots(database, [RootReport(str(root), host or socket.gethostname(), "ext4", online=online, files=3)])


def world(database: Database, root: Path) -> World:
    for folder in (OURS, THEIRS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    watched(database, root)
    ours = transcribed(database, root, f"{OURS}/talk.wav", "the budget")
    theirs = transcribed(database, root, f"{THEIRS}/{SECRET}.wav", f"the budget of the {SECRET}")
    enroll(database, KnownVoice(f"{SECRET.title()} Smith", "encoder", (1.0,), 9.0))
    with database.begin() as connection:  # as if it had lain there before
        note(connection, ours, EventKind.RENAMED, f"from {THEIRS}/{SECRET}.wav", where="test")
    return World(root, ours, theirs, duplicate(database, root, theirs))


def transcribed(database: Database, root: Path, path: str, text: str) -> str:
    job_id = console.admit(database, path, str(root))
    console.prepare(database, job_id, (0.0, 60.0))
    console.read(database, job_id, text=text)
    console.finish(database, job_id, text=text, file=root / f"{path}.txt")
    return job_id


def duplicate(database: Database, root: Path, leader: str, path: str = f"{OURS}/same.wav") -> str:
    """A recording of ours with the content of theirs, whose transcript says so."""
    job_id = console.admit(database, path, str(root))
    claim = jobs.claim_prepare(database, job_id, "cpu-1", 90)
    assert claim
    assert jobs.lead_or_follow(database, claim, leader)[0] == leader
    claim = jobs.claim_finish(database, job_id, "cpu-1", 90)
    assert claim
    note = f"same content as job {leader} ({THEIRS}/{SECRET}.wav)"
    transcripts.save(database, claim, json.dumps(json.loads(console.document(job_id)) | {"notes": [note]}))
    jobs.complete(database, claim, JobState.DUPLICATE, reason=note, notes=[note])
    return job_id


@contextmanager
def gate(database: Database, settings: Settings) -> Iterator[Gate]:
    with closing(EmbeddedContext(settings, database)) as context:
        yield app.make(context)


@contextmanager
def asking(made: Gate, database: Database, role: TokenRole, *folders: str) -> Iterator[TestClient]:
    """A client with a token of its own; what goes wrong in the server is an answer."""
    secret = tokens.create(database, f"{role}-{len(tokens.list_tokens(database))}", role, folders)
    headers = {"Authorization": f"Bearer {secret}"}
    with TestClient(made, base_url="http://localhost", headers=headers, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def listening(made: Gate, own: Settings) -> Iterator[tuple[str, int]]:
    """A real server on a free port of this machine."""
    with service.listening(own.model_copy(update={"serve_port": 0})) as listener:
        server = uvicorn.Server(service.config(made))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until("the server listens", lambda: server.started)
        yield listener.getsockname()
        server.should_exit = True
        thread.join()

"""Those who use a server that is killed and frozen: readers, one who sends recordings, one who hears events."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy import select

from dropscribe.store.tables import events
from tests.faults.fleet import Fleet

READERS = 3
PAGES = ("/recordings", "/fleet", "/api/v1/status", "/api/v1/recordings?limit=100", "/search?q=tone")
PATIENCE = 30.0  # seconds for an answer of a server that may be frozen
SILENCE = 5.0  # seconds in which a stream says at least that nothing happened
PAUSE = 0.5  # seconds between two requests of one reader, and before what failed is tried again
AWAY = 503  # what a server may answer whose store, Redis or folder is away


@dataclass
class Visitors:
    """Those who use the server at a port of this machine, each in a thread, until they are sent home.

    `answers` counts what they got, `wrong` is what no caller may ever get; `heard` are the numbers of events.
    """

    port: int
    inbox: Path
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    heard: set[int] = field(default_factory=set)
    _last: int = 0
    _to_send: queue.Queue[Path] = field(default_factory=queue.Queue)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Let all of them come."""
        doings: list[Callable[[], None]] = [self._read] * READERS + [self._send, self._hear]
        self._threads = [threading.Thread(target=self._until_over, args=(one,), daemon=True) for one in doings]
        for thread in self._threads:
            thread.start()

    def send(self, recording: Path) -> str:
        """Have a recording sent, soon; returns the name that it gets."""
        self._to_send.put(recording)
        return recording.name

    def end(self, fleet: Fleet) -> list[str]:
        """Send them home when everything is heard; returns what was wrong, in words."""
        with fleet.database.read() as connection:
            happened = set(connection.execute(select(events.c.id)).scalars())
        fleet.wait_until("the stream has come to the end", lambda: self._last >= max(happened, default=0))
        self._over.set()
        for thread in self._threads:
            thread.join()
        missed = sorted(happened - self.heard)
        return self.wrong + ([f"{len(missed)} events were never streamed, the first is {missed[0]}"] if missed else [])

    def _until_over(self, do: Callable[[], None]) -> None:
        """Do it again and again, whatever the server does."""
        while not self._over.is_set():
            try:
                do()
            except (OSError, HTTPException) as error:
                self.answers[type(error).__name__] += 1
                self._over.wait(PAUSE)

    def _read(self) -> None:
        """Look at each page."""
        for page in PAGES:
            with self._asked("GET", page) as answer:
                self._note(f"GET {page}", answer)
                if page.startswith("/api") and answer.status == 200:
                    json.loads(answer.read())
            self._over.wait(PAUSE)

    def _send(self) -> None:
        """Send a recording; one whose answer is not known again, until it is there."""
        try:
            recording = self._to_send.get(timeout=PAUSE)
        except queue.Empty:
            return
        where = urlencode({"folder": str(self.inbox), "name": recording.name})
        status = 0
        while status not in {201, 409} and not self._over.is_set():
            try:
                with self._asked("POST", f"/api/v1/recordings?{where}", recording.read_bytes()) as answer:
                    status = answer.status
                    self._note("POST", answer, 409)  # it is there already: the answer was lost
            except (OSError, HTTPException) as error:
                self.answers[f"POST {type(error).__name__}"] += 1
            self._over.wait(PAUSE)
        self._to_send.task_done()

    def _hear(self) -> None:
        """Hear the events that came after the last one that was heard."""
        with self._asked("GET", "/api/v1/events", timeout=SILENCE, **{"Last-Event-ID": str(self._last)}) as answer:
            self._note("GET /api/v1/events", answer)
            while answer.status == 200 and not self._over.is_set() and (line := answer.readline()):
                if line.startswith(b"id: "):
                    self._last = int(line[4:])
                    self.heard.add(self._last)
        self._over.wait(PAUSE)

    @contextmanager
    def _asked(
        self, method: str, path: str, body: bytes | None = None, timeout: float = PATIENCE, **headers: str
    ) -> Iterator[HTTPResponse]:
        """The answer to a request on a connection of its own."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request(method, path, body, headers)
            yield connection.getresponse()

    def _note(self, asked: str, answer: HTTPResponse, *also: int) -> None:
        """Count an answer."""
        self.answers[str(answer.status)] += 1
        if answer.status not in {200, 201, AWAY, *also}:
            self.wrong.append(f"{asked} was answered by {answer.status}: {answer.read(500)!r}")

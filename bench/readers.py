"""How long 50 readers wait for the server while 1,000 recordings are transcribed, and in how much memory it does that.

Run as `python -m bench.readers`; takes about two minutes. Scheduler, workers, server, SQLite and Redis are the real
ones, each in its process; the model is scripted. A reader has a token, and a stream of events that stays open. Whenever
something happened, it asks for its page anew, as often as the page in a browser does. The first row is a file that the
server holds in memory: no answer comes sooner.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from bench.machine import Machine, private
from bench.overload import SETTINGS
from dropscribe.core.types import JobState, TokenRole
from dropscribe.store import queries, tokens
from tests.e2e.harness import speech

ASSET = "/static/page.css"
JOB = "{job}"  # stands for a recording that is done
LOOKS = (
    ASSET,
    "/recordings",
    "/recordings?state=unfinished",
    f"/recordings/{JOB}",
    "/search?q=the",
    "/fleet",
    "/api/v1/recordings",
    f"/api/v1/recordings/{JOB}/transcript?format=json",
    "/api/v1/status",
)
PAUSE = 1.5  # seconds between two looks of a page at least, as `serve/pages/static/live.js` has it
EVERY = 5.0  # seconds after which it looks though nothing happened
SPOKEN_SECONDS = 2.0  # of each recording
WARM_UP = 5.0  # seconds that are not counted
TIMEOUT = 60.0
SERVER = "server"
MEGABYTE = 1e6
MILLISECONDS = 1e3


@dataclass
class Reader:
    """One who follows a page, of `job` or of many; `waits` in seconds, and `wrong` what were no answers."""

    address: str
    token: str
    look: str
    job: str
    waits: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    happened: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def threads(self) -> list[threading.Thread]:
        """One that follows the events, and one that looks."""
        return [threading.Thread(target=one, daemon=True) for one in (self._follow, self._read)]

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _connection(self) -> HTTPConnection:
        return HTTPConnection(self.address.removeprefix("http://"), timeout=TIMEOUT)

    def _follow(self) -> None:
        """Note when something happens; the server says each second whether anything did."""
        with closing(self._connection()) as connection:
            connection.request("GET", "/api/v1/events", headers=self._headers)
            with connection.getresponse() as stream:
                while not self.over.is_set() and (line := stream.readline()):
                    if line.startswith(b"id:"):
                        self.happened.set()

    def _read(self) -> None:
        """Ask for the page whenever something happened."""
        with closing(self._connection()) as connection:
            while not self.over.is_set():
                self.happened.wait(EVERY)
                self.happened.clear()
                began = time.monotonic()
                status = self._status(connection)
                self.waits.append(time.monotonic() - began)
                if status != "200":
                    self.wrong.append(status)
                self.over.wait(PAUSE)

    def _status(self, connection: HTTPConnection) -> str:
        """How the server answered."""
        try:
            connection.request("GET", self.look.replace(JOB, self.job), headers=self._headers)
            with connection.getresponse() as answer:
                answer.read()
                return str(answer.status)
        except (OSError, HTTPException) as error:
            connection.close()
            return repr(error)


@dataclass
class Server:
    """The server's process while it is asked; memory in bytes."""

    process: psutil.Process
    before: int = 0
    most: int = 0
    connections: int = 0

    def look(self) -> None:
        """Note what it takes now."""
        resident = self.process.memory_info().rss
        self.before = self.before or resident
        self.most = max(self.most, resident)
        self.connections = max(self.connections, len(self.process.net_connections()))


def main(argv: Sequence[str] | None = None) -> int:
    """Let recordings be transcribed, read meanwhile, print."""
    options = _parse(argv)
    with (
        tempfile.TemporaryDirectory(prefix="dropscribe-readers-", dir=options.directory) as name,
        private(Path(name), serve_port="0", scripted_script=json.dumps({"seconds": 0.2}), **SETTINGS) as machine,
    ):
        address = serve(machine)
        inbox = Path(name) / "inbox"
        inbox.mkdir()
        for number in range(options.jobs):
            speech(inbox / f"{number:04}.wav", SPOKEN_SECONDS, seed=number)
        machine.start("scheduler", "scheduler", "scheduler", str(inbox))
        machine.start_workers()
        machine.wait_until(lambda: _count(machine) >= options.jobs and _done(machine))
        _report(machine, address, options)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.readers", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1000, help="recordings that are transcribed meanwhile")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they read")
    parser.add_argument("--directory", type=Path, help="where to work")
    return parser.parse_args(argv)


def serve(machine: Machine) -> str:
    """Start the server; returns its address."""
    file = machine.settings.home / "server.address"
    machine.start(SERVER, SERVER, str(file))
    machine.wait_until(lambda: file.exists() and file.read_text())
    return file.read_text()


def _count(machine: Machine, *states: JobState) -> int:
    """How many jobs there are, or in these states."""
    found = queries.count_by_state(machine.database)
    return sum(number for state, number in found.items() if not states or state in states)


def _done(machine: Machine) -> int:
    return _count(machine, JobState.DONE)


def _report(machine: Machine, address: str, options: argparse.Namespace) -> None:
    """Let them read for a while, and print what they waited."""
    (job, *_) = queries.list_jobs(machine.database, states=[JobState.DONE], limit=1)
    readers = [_reader(machine, address, number, job.id) for number in range(options.readers)]
    (child,) = (child for child in machine.supervisor.children if child.name == SERVER and child.process)
    assert child.process
    server = Server(psutil.Process(child.process.pid))
    threads = [thread for reader in readers for thread in reader.threads()]
    for thread in threads:  # people do not come all in the same moment
        thread.start()
        time.sleep(WARM_UP / len(threads))
    for reader in readers:
        reader.waits.clear()
    done, computed, began = _done(machine), machine.cpu_seconds(), time.monotonic()
    while time.monotonic() - began < options.seconds:
        server.look()
        time.sleep(1.0)
    seconds, transcribed = time.monotonic() - began, _done(machine) - done
    taken = {name: one - computed[name] for name, one in machine.cpu_seconds().items()}
    for reader in readers:
        reader.over.set()
    for thread in threads:
        thread.join()
    _print_waits(readers)
    print(f"{sum(len(one.waits) for one in readers) / seconds:.1f} answers a second")
    print(f"meanwhile {transcribed} of {options.jobs:,} recordings were transcribed in {seconds:.0f} s")
    print("cores taken: " + ", ".join(f"{name} {one / seconds:.2f}" for name, one in sorted(taken.items())))
    print(f"memory of the server: {server.before / MEGABYTE:.0f} MB, at most {server.most / MEGABYTE:.0f} MB")
    print(f"at most {server.connections} sockets")
    for status in sorted({status for reader in readers for status in reader.wrong}):
        print(f"answered by {status}: {sum(reader.wrong.count(status) for reader in readers)} times")


def _reader(machine: Machine, address: str, number: int, job: str) -> Reader:
    """One of many, each with a token."""
    token = tokens.create(machine.database, f"reader-{number}", TokenRole.READER)
    return Reader(address, token, LOOKS[number % len(LOOKS)], job)


def _print_waits(readers: Sequence[Reader]) -> None:
    """How long answers took, page by page and all together but for the file."""
    rows = {look: [wait for one in readers if one.look == look for wait in one.waits] for look in LOOKS}
    rows["all but the file"] = [wait for look in LOOKS if look != ASSET for wait in rows[look]]
    least = statistics.median(rows[ASSET])
    print(f"{'milliseconds':50}{'answers':>9}{'median':>9}{'95th':>9}{'longest':>9}{'ratio':>9}")
    for name, waits in rows.items():
        _print_row(name, waits, statistics.median(waits) / least)


def _print_row(name: str, waits: Sequence[float], ratio: float) -> None:
    """The waits for one page, and the ratio of the median to that of the file."""
    parts = [part * MILLISECONDS for part in statistics.quantiles(waits, n=20)]
    longest = max(waits) * MILLISECONDS
    print(f"{name:50}{len(waits):9,}{parts[9]:9.0f}{parts[18]:9.0f}{longest:9.0f}{ratio:8.1f}x")


if __name__ == "__main__":
    raise SystemExit(main())

"""A PostgreSQL to break: it can be restarted, killed and frozen, and hold all who come to a given statement."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

GATE = 4_242  # the advisory lock at which statements are held


@dataclass
class Server:
    """A server of one's own on a unix socket, and on `address` where one is given."""

    programs: Path
    folder: Path
    address: str = ""
    environment: Mapping[str, str] | None = None
    user: str | None = None

    @property
    def url(self) -> str:
        """By its socket."""
        return f"postgresql+psycopg://test@/postgres?host={self.folder}"

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def initialize(self) -> None:
        """Make an empty cluster."""
        self._do("initdb", "-U", "test", "-A", "trust", "--no-sync", "-E", "UTF8")
        if self.address:
            network = self.address.rpartition(".")[0] + ".0/24"
            with (self.folder / "data" / "pg_hba.conf").open("a") as file:
                file.write(f"host all all {network} trust\n")

    def start(self) -> None:
        """Start, and wait until it answers."""
        listens = self.address or "''"
        options = f"-c listen_addresses={listens} -c unix_socket_directories={self.folder} -c fsync=off"
        self._do("pg_ctl", "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """`fast` disconnects everybody in order, `immediate` is a crash."""
        self._do("pg_ctl", "-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """SIGSTOP for the server and all its sessions: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        postmaster = psutil.Process(self.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # a session that ended just now
                process.send_signal(number)

    def empty(self) -> None:
        """Drop all tables."""
        with self.session() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A session that commits each statement by itself."""
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    def _do(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, "-D", self.folder / "data", *arguments],
            user=self.user,
            stdout=subprocess.DEVNULL,
            check=True,
            cwd=self.folder,
            env=self.environment,
        )


@contextmanager
def server(programs: Path, *, address: str = "", environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A running server; `environment` is that of its processes."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a short path, as a socket needs
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    made = Server(programs, folder, address, environment, user)
    made.initialize()
    made.start()
    try:
        yield made
    finally:
        made.thaw()
        made.stop()
        shutil.rmtree(folder)


# The job that a row of any table belongs to, by its columns.
JOB = "coalesce(row ->> 'job_id', split_part(coalesce(row ->> 'chunk_id', row ->> 'id'), '.', 1))"
HOLD = f"""
CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE row jsonb = to_jsonb(NEW);
BEGIN
    IF EXISTS (SELECT 1 FROM jobs WHERE path LIKE '%s' AND id = {JOB}) THEN
        PERFORM pg_advisory_xact_lock({GATE});
    END IF;
    RETURN NEW;
END $$
"""


class Gate:
    """Holds anyone who comes to a statement about the job of one recording. Used as a context.

    `moment` is as in `CREATE TRIGGER`: `BEFORE UPDATE ON jobs`; `when` its condition on OLD and NEW.
    """

    def __init__(self, server: Server, moment: str, when: str = "true", *, of: str = "%") -> None:
        self._server = server
        self._of = of
        self._table = moment.rsplit(maxsplit=1)[-1]
        self._trigger = f"CREATE TRIGGER gate {moment} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION gate()"

    def __enter__(self) -> Self:
        self._session = self._server.session()
        self._connection = self._session.__enter__()
        self._connection.exec_driver_sql((HOLD % self._of).replace("%", "%%"))
        self._connection.execute(text(f"SELECT pg_advisory_lock({GATE})"))
        self._connection.execute(text(self._trigger))
        return self

    def holds(self) -> bool:
        """True when somebody waits at it."""
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :gate AND NOT granted"
        return bool(self._connection.execute(text(query), {"gate": GATE}).scalar())

    def held(self) -> str:
        """Who waits at it: the name of the process that has work, where only one has."""
        owners = "SELECT owner FROM chunks WHERE owner > '' UNION ALL SELECT owner FROM jobs WHERE owner > ''"
        return str(self._connection.execute(text(owners)).scalars().first())

    def open(self) -> None:
        """Let everybody through."""
        self._connection.execute(text(f"SELECT pg_advisory_unlock({GATE})"))

    def __exit__(self, *_: object) -> None:
        self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
        self._connection.execute(text(f"DROP TRIGGER gate ON {self._table}"))
        self._session.__exit__(None, None, None)

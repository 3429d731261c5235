"""A machine of one's own for a measurement: private state, a private Redis, and the product's own processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from dropscribe.admin.local import private_redis
from dropscribe.admin.local.supervisor import Child, Supervisor
from dropscribe.core.settings import Settings
from dropscribe.core.settings_file import CONFIG_VARIABLE
from dropscribe.core.settings_loading import load
from dropscribe.core.store_settings import PREFIX
from dropscribe.store.fleet import list_workers
from dropscribe.store.session import Database, open_database

REDIS = "redis"
PATIENCE = 120.0  # seconds without progress after which a measurement is given up
GRACE = 20.0  # seconds that processes get to stop
READY = "ready"


@dataclass
class Machine:
    """Processes that work on one private store."""

    settings: Settings
    database: Database
    supervisor: Supervisor

    def start(self, name: str, *arguments: str) -> Child:
        """Start a process; `arguments` are those of `dropscribe.admin.local.child`."""
        return self.supervisor.start(name, *arguments)

    def start_workers(self) -> None:
        """Start a CPU worker and a model worker, and wait until both are ready."""
        workers = [self.start(role, role, role) for role in ("cpu", "model")]
        self.wait_until(lambda: self._ready() >= {worker.name for worker in workers})

    def stop(self, child: Child) -> None:
        """Stop one process in order."""
        self.supervisor.stop([child], GRACE)

    def cpu_seconds(self) -> dict[str, float]:
        """What each process has computed so far, with all that it started, by name."""
        alive = [child for child in self.supervisor.children if child.process]
        return {child.name: cpu_seconds(psutil.Process(child.process.pid)) for child in alive if child.process}

    def wait_until(
        self,
        condition: Callable[[], object],
        progress: Callable[[], object] | None = None,
        *,
        every: float = 0.1,
        patience: float = PATIENCE,
    ) -> None:
        """Poll until the condition holds, each so many seconds.

        Exits when a process died, or when `progress` has not changed for `patience` seconds.
        """
        last, since = None, time.monotonic()
        while not condition():
            self._check_alive()
            now = progress() if progress else None
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                raise SystemExit(f"nothing happened for {patience:.0f} s; see the logs in {self.supervisor.logs}")
            time.sleep(every)

    def _ready(self) -> set[str]:
        return {worker.id for worker in list_workers(self.database) if worker.state == READY}

    def _check_alive(self) -> None:
        for child in self.supervisor.children:
            if child.process and child.process.poll() is not None:
                raise SystemExit(f"{child.name} ended: {self.supervisor.crash_reason(child)}")


def cpu_seconds(process: psutil.Process) -> float:
    """Of what has ended and was awaited, too; of a child that ends meanwhile, nothing yet."""
    seconds = 0.0
    with suppress(psutil.NoSuchProcess):
        own = process.cpu_times()
        seconds = own.user + own.system + own.children_user + own.children_system
        seconds += sum(map(cpu_seconds, process.children()))
    return seconds


@contextmanager
def private(folder: Path, **settings: str) -> Iterator[Machine]:
    """A machine in `folder` with these settings and no other, on SQLite; stops everything at the end."""
    home = folder / "state"
    (home / "logs").mkdir(parents=True, mode=0o700)
    environment = _alone(home, settings)
    loaded = load(environment)
    database = open_database(loaded.database, where="bench")
    supervisor = Supervisor(home / "logs", environment, lambda _: True)
    try:
        supervisor.start(REDIS, "exec", *private_redis.server_command(loaded))
        private_redis.wait_until_up(loaded)
        yield Machine(loaded, database, supervisor)
    finally:
        # Redis last: workers that lose it wait for it to come back.
        supervisor.stop(supervisor.children[1:], GRACE)
        supervisor.stop(supervisor.children[:1], GRACE)
        database.close()


def _alone(home: Path, settings: dict[str, str]) -> dict[str, str]:
    """An environment in which nothing but these settings holds: no variable and no file of the person who measures."""
    config = home / "none.toml"
    config.touch()
    unset = {name: "" for name in os.environ if name.startswith(PREFIX)}
    own = {PREFIX + name.upper(): value for name, value in settings.items()}
    return unset | {CONFIG_VARIABLE: str(config), PREFIX + "HOME": str(home)} | own

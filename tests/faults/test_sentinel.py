"""A Redis behind sentinels: when its master dies, all go on with the replica that they promote."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from dropscribe.admin.check.checks import ask_redis
from dropscribe.admin.local.private_redis import server_program
from dropscribe.core.errors import BrokerError
from dropscribe.core.settings_loading import load
from tests.conftest import missing
from tests.faults import aftermath
from tests.faults.fleet import REDIS, Fleet, Member
from tests.faults.recordings import Recordings
from tests.faults.shares import eventually
from tests.servers import free_port

MASTER = "mymaster"
PASSWORD = "se/cr:et"


@dataclass
class Guarded:
    """A master, its replica, and two sentinels that promote the replica half a second after the master is gone."""

    master: subprocess.Popen[bytes]
    ports: list[int]  # of the master and the replica
    sentinels: list[int]

    @property
    def url(self) -> str:
        """As dropscribe takes it; of its first sentinel the host is gone."""
        hosts = ",".join(f"localhost:{port}" for port in [free_port(), *self.sentinels])
        return f"sentinel://:{PASSWORD.replace('/', '%2F')}@{hosts}/1?master={MASTER}"

    def is_replicated(self) -> bool:
        """Do the sentinels know a replica that they could promote?"""
        found = []
        for port in self.sentinels:
            with redis.Redis(port=port) as sentinel:
                found += sentinel.sentinel_slaves(MASTER)
        return len(found) == 2 and all(one["master-link-status"] == "ok" for one in found)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    try:
        program = server_program()
    except BrokerError:
        missing("Redis")
    ports = [free_port() for _ in range(4)]
    with ExitStack() as running:

        def start(*arguments: object) -> subprocess.Popen[bytes]:
            command = [program, *map(str, arguments)]
            process = running.enter_context(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL))
            running.callback(process.kill)
            return process

        secret = ["--save", "", "--requirepass", PASSWORD, "--masterauth", PASSWORD]
        master = start("--port", ports[0], *secret)
        start("--port", ports[1], "--replicaof", "127.0.0.1", ports[0], "--repl-diskless-sync-delay", 0, *secret)
        for port in ports[2:]:
            config = tmp_path / f"{port}.conf"
            config.write_text(
                f"port {port}\nsentinel monitor {MASTER} 127.0.0.1 {ports[0]} 1\n"
                f"sentinel auth-pass {MASTER} {PASSWORD}\nsentinel down-after-milliseconds {MASTER} 500\n"
                f"sentinel failover-timeout {MASTER} 3000\n"
            )
            start(config, "--sentinel")
        made = Guarded(master, ports[:2], ports[2:])
        eventually(lambda: _answers(made))
        yield made


def _answers(guarded: Guarded) -> bool:
    try:
        return guarded.is_replicated()
    except redis.ConnectionError:  # not started yet
        return False


def test_when_the_master_dies_all_go_on_with_the_replica_and_nobody_ends(
    make_fleet: Callable[..., Fleet], recordings: Recordings, guarded: Guarded
) -> None:
    fleet = make_fleet(REDIS_URL=guarded.url)
    fleet.members[REDIS] = Member(REDIS, REDIS, restarts=False)  # it is another one that the fleet uses
    fleet.start("scheduler", "cpu", "model")
    names = recordings.put(fleet.inbox, 0)
    fleet.wait_for_all(names)
    guarded.master.kill()
    names += recordings.put(fleet.inbox, 1, 2)
    fleet.wait_for_all(names)
    assert {member.generation for member in fleet.members.values() if member.process} == {1}
    assert ask_redis(load(fleet.environment)).version
    with redis.Redis(port=guarded.ports[1], password=PASSWORD) as replica:
        assert replica.role()[0] == b"master"
    aftermath.assert_whole(fleet, recordings, names)

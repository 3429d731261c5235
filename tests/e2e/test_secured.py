"""A fleet whose Redis wants a password, keeps it to its own keys, and speaks TLS; and whose PostgreSQL speaks TLS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from dropscribe.admin.local import private_redis
from dropscribe.core.types import JobState
from dropscribe.store.session import open_database
from tests import certificates as certificates_of_tests
from tests import servers
from tests.certificates import tls_in_front_of
from tests.conftest import missing
from tests.e2e.harness import speech, wait_until
from tests.e2e.test_fleet import Fleet

ACL = Path(__file__).parents[2] / "deploy" / "redis-users.acl.example"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, `ca.pem`, and its certificate for localhost, `server.pem` with `server.key`."""
    folder = tmp_path_factory.mktemp("certificates")
    certificates_of_tests.make(folder)
    return folder


@pytest.fixture
def guarded_redis(tmp_path: Path, certificates: Path) -> Iterator[str]:
    """Where a Redis with ACL and TLS listens: `localhost:PORT`."""
    (tmp_path / "users.acl").write_text(ACL.read_text().replace("PASSWORD", "secret"))
    program = private_redis.server_program()
    path = tmp_path / "r.sock"
    command = [
        program,
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--aclfile",
        str(tmp_path / "users.acl"),
    ]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as server,
        tls_in_front_of(path, certificates / "server.pem") as port,
    ):
        wait_until("Redis listens", path.exists)
        yield f"localhost:{port}"
        server.terminate()


@pytest.fixture
def guarded(tmp_path: Path, guarded_redis: str, certificates: Path) -> Iterator[Fleet]:
    programs = servers.find_postgresql()
    if programs is None:
        missing("PostgreSQL")
    with ExitStack() as stack:
        url = stack.enter_context(servers.private_postgresql(programs, certificates=certificates))
        open_database(url).close()
        fleet = Fleet(
            tmp_path / "fleet",
            DATABASE_URL=url,
            REDIS_URL=f"rediss://dropscribe:secret@{guarded_redis}/0?ssl_ca_certs={certificates / 'ca.pem'}",
        )
        stack.callback(fleet.close)
        yield fleet


def test_a_fleet_works_through_tls_with_no_more_rights_than_it_needs(guarded: Fleet) -> None:
    guarded.start()
    speech(guarded.inbox / "talk.wav", 5)
    guarded.wait_for("talk.wav", JobState.DONE)
    guarded.assert_whole("talk.wav")
    found = guarded.run("doctor", "--json")
    assert "secret" not in found.stdout + found.stderr
    assert {check["name"]: check["level"] for check in json.loads(found.stdout)["checks"]}["redis"] == "ok"
    for role in ("scheduler", "cpu", "model"):
        assert guarded.run("health", "--role", role).returncode == 0


def test_a_redis_of_an_unknown_authority_is_not_trusted(guarded_redis: str, certificates: Path) -> None:
    trusting = f"rediss://dropscribe:secret@{guarded_redis}/0?ssl_ca_certs={certificates / 'ca.pem'}"
    with redis.Redis.from_url(trusting) as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("somebody elses key")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()
    distrusting = redis.Redis.from_url(f"rediss://dropscribe:secret@{guarded_redis}/0")
    with distrusting as client, pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"):
        client.ping()

"""Servers that are not who they say: nothing is sent to a Redis or a PostgreSQL whose certificate is wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import RedisError

from dropscribe.core import queue
from dropscribe.core.errors import BrokerError, StoreUnavailableError
from dropscribe.core.queue import Doorbell
from dropscribe.core.sentinel import redis_client
from dropscribe.core.settings import Settings
from dropscribe.store.session import Database
from tests import certificates, servers
from tests.certificates import ANOTHER_NAME, EXPIRED, tls_in_front_of
from tests.conftest import missing

# The certificate that the server shows, the authority that the client trusts, and what is said of them.
WRONG = {
    "an unknown authority": ("server.pem", "another_ca.pem", "certificate verify failed"),
    "another name": (ANOTHER_NAME, "ca.pem", "(?i)(hostname mismatch|does not match host name)"),
    "an expired one": (EXPIRED, "ca.pem", "(?i)(certificate has expired|certificate verify failed)"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    certificates.make(made)
    return made


@pytest.fixture(params=WRONG)
def wrong(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    return WRONG[request.param]


def redis_at(home: Path, port: int, authority: Path) -> Settings:
    return Settings(home=home, redis_url=f"rediss://localhost:{port}/0?ssl_ca_certs={authority}")


def refusals(settings: Settings) -> list[str]:
    """What is said by each way to Redis: messages, and the look that `doctor` takes."""
    doorbell = Doorbell(settings)
    with pytest.raises(BrokerError) as sent:
        doorbell.probe()
    doorbell.close()
    with redis_client(settings.redis_url) as client, pytest.raises(RedisError) as looked:
        client.ping()
    return [str(sent.value), str(looked.value)]


def test_a_redis_with_a_wrong_certificate_gets_nothing(
    folder: Path, wrong: tuple[str, str, str], settings: Settings, tmp_path: Path
) -> None:
    shown, trusted, words = wrong
    with tls_in_front_of(queue.socket_path(settings), folder / shown) as port:
        for said in refusals(redis_at(tmp_path, port, folder / trusted)):
            assert re.search(words, said)


def test_a_redis_with_a_good_one_is_spoken_to(folder: Path, settings: Settings, tmp_path: Path) -> None:
    with tls_in_front_of(queue.socket_path(settings), folder / "server.pem") as port:
        trusting = redis_at(tmp_path, port, folder / "ca.pem")
        doorbell = Doorbell(trusting)
        doorbell.probe()
        doorbell.close()
        with redis_client(trusting.redis_url) as client:
            assert client.ping()


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[str]:
    """A PostgreSQL that is reached by TLS only."""
    programs = servers.find_postgresql()
    if programs is None:
        missing("PostgreSQL")
    with servers.private_postgresql(programs, certificates=folder) as url:
        yield url


def show(guarded: str, certificate: Path) -> None:
    """Have the server show this certificate from now on."""
    with psycopg.connect(guarded.replace("+psycopg", ""), autocommit=True) as connection:
        (file,) = connection.execute("SHOW ssl_cert_file").fetchone() or ("",)
        shutil.copyfile(certificate, file)
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture
def shown(guarded: str, folder: Path, wrong: tuple[str, str, str]) -> Iterator[None]:
    show(guarded, folder / wrong[0])
    yield
    trusting = guarded.replace("verify-full", "require").partition("&")[0]  # which looks at no certificate
    show(trusting, folder / "server.pem")


def test_a_postgresql_with_a_wrong_certificate_gets_nothing(
    guarded: str, shown: None, folder: Path, wrong: tuple[str, str, str]
) -> None:
    _, trusted, words = wrong
    database = Database(guarded.replace("/ca.pem", f"/{trusted}"))
    with pytest.raises(StoreUnavailableError, match=words):
        database.version()
    database.close()

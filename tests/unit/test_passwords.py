"""No password shows, whatever way it is written, no matter who complains of it."""

from __future__ import annotations

import base64
import logging
import socketserver
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as some

from dropscribe.admin.check.checks import ask_redis
from dropscribe.core import logs
from dropscribe.core.errors import DropscribeError
from dropscribe.core.passwords import mask, of_address, redact, remember
from dropscribe.core.settings import fields, variable
from dropscribe.core.settings_errors import secrets
from dropscribe.core.settings_loading import load, origins
from dropscribe.models.openai.transcriber import OpenAIServer
from dropscribe.scheduler.duties.mail import MailChannel
from dropscribe.store.notifications import MAIL, Notification
from dropscribe.store.session import Database

PIECES = ("Zq7xVwK", "mJ4tRbN", "Xd9pLcH", "Ws3fGhT")  # which stand in nothing else; the last is a second password
SIGNS = "@/:?#&%=+ ;'\"\\"
PASSWORDS = some.tuples(some.sampled_from(SIGNS), some.sampled_from(SIGNS)).map(
    lambda signs: PIECES[0] + signs[0] + PIECES[1] + signs[1] + PIECES[2]
)

# How people write one into an address: escaped and not, as a parameter, for a unix socket, without a user.
DATABASES = (
    "postgresql://dropscribe:{0}@127.0.0.1:1/none",
    "postgresql://dropscribe:{1}@127.0.0.1:1/none",
    "postgresql://127.0.0.1:1/none?user=dropscribe&password={0}",
    "postgresql://127.0.0.1:1/none?password={1}&user=dropscribe",
    "postgresql+psycopg://dropscribe:{1}@/none?host=/nowhere",
    "postgresql:dropscribe:{0}@127.0.0.1/none",
    "host=127.0.0.1 port=1 password={0}",
)
REDISES = (
    "redis://:{0}@127.0.0.1:1/0",
    "redis://user:{1}@127.0.0.1:1/0",
    "redis://127.0.0.1:1/0?password={0}",
    "rediss://127.0.0.1:1/0?PASSWORD={1}",
    "unix://:{0}@/nowhere/redis.sock",
    "unix:///nowhere/redis.sock?password={1}",
    "redis://127.0.0.1:1/0?sentinel_password=Ws3fGhT&password={0}",
    "redis://127.0.0.1:1/0?password={1}&sentinel_password=Ws3fGhT",
    "redis:://{0}@127.0.0.1:1",
)


def written(form: str, password: str) -> str:
    return form.format(password, quote(password, safe=""))


def leaked(text: str) -> set[str]:
    return {piece for piece in PIECES if piece.lower() in text.lower()}


@given(PASSWORDS)
@pytest.mark.parametrize("form", [*DATABASES, *REDISES[:-1]])
def test_an_address_is_shown_without_its_password(form, password):
    assert not leaked(mask(written(form, password)))


@pytest.mark.parametrize(
    "address",
    [
        "redis://queue:6379/0",
        "unix:///run/redis.sock",
        "sqlite:////srv/a b.db",
        "postgresql://u@[::1]:5432/x?sslkey=/k",
    ],
)
def test_an_address_without_a_password_is_shown_as_it_is(address):
    assert mask(address) == address


SERVERS = ("http://u:{1}@127.0.0.1:1/v1", "https://127.0.0.1:1/v1?key={1}", "http://127.0.0.1:1/v1?token={0}")


class EchoingServer(socketserver.StreamRequestHandler):
    """A server for mail that refuses everybody, and says to whom it does."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            told = base64.b64decode(line.split()[-1]) if line.startswith(b"AUTH") else line.split()[0]
            self.wfile.write({b"EHLO": b"250 AUTH PLAIN\r\n"}.get(line[:4], b"535 not " + told + b"\r\n"))


@pytest.fixture(scope="module")
def mail_server():
    with socketserver.TCPServer(("127.0.0.1", 0), EchoingServer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"smtp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@given(PASSWORDS, some.sampled_from(DATABASES), some.sampled_from(REDISES), some.sampled_from(SERVERS))
@given_settings(max_examples=8)
def test_no_error_log_line_or_traceback_holds_one(mail_server, password, database, redis, server):
    addresses = {"database_url": database, "redis_url": redis, "webhook_url": server, "openai.base_url": server}
    told = {name: addresses.get(name, "{0}") for name in secrets(fields())}  # a new one is secret as a whole
    environ = {variable(name): written(form, password) for name, form in told.items()}
    environ |= {"DROPSCRIBE_HOME": "/nowhere", "DROPSCRIBE_OPENAI_RETRIES": "0", "DROPSCRIBE_MAIL_USER": "u"}
    settings = load(environ | {"DROPSCRIBE_MAIL_SERVER": mail_server, "DROPSCRIBE_MAIL_TO": "a@b.example"})
    said = [one.value for one in origins(settings, environ)]
    notification = Notification("n", "j", MAIL, "", "done", "", 0.0, 1)
    for attempt in (
        lambda: Database(settings.database).version(),
        lambda: ask_redis(settings),
        lambda: MailChannel(settings).send(notification, {"source": "/a", "notes": (), "files": ()}, Event()),
        lambda: OpenAIServer.load(settings),
    ):
        try:
            attempt()
        except Exception as error:
            record = logging.makeLogRecord({"msg": f"{error}", "exc_info": (type(error), error, error.__traceback__)})
            said += [logs.JsonFormatter().format(record), logs.TextFormatter().format(record)]
            said += [str(error)] if isinstance(error, DropscribeError) else []
    assert len(said) > len(fields()) + 8
    assert not leaked("\n".join(said))


def test_a_value_that_does_not_fit_is_told_without_it():
    with pytest.raises(DropscribeError) as refused:
        load({"DROPSCRIBE_WEBHOOK_URL": f"ftp://u:{PIECES[0]}@h"})
    assert "WEBHOOK_URL = ***" in str(refused.value)
    assert not leaked(str(refused.value))


def test_a_password_that_is_shown_anyway_is_struck_from_no_sentence():
    remember("dropscribe", shown="postgresql://dropscribe:***@db/dropscribe")
    assert redact("run `dropscribe doctor`") == "run `dropscribe doctor`"


@given(PASSWORDS)
@pytest.mark.parametrize("form", REDISES[-3:-1])
def test_each_of_two_passwords_in_one_address_is_struck_by_itself_and_no_name_is(form, password):
    for one in of_address(written(form, password)):
        remember(one)
    for piece in PIECES:
        assert redact(f"no password, or sentinel_password, is {piece}") == "no password, or sentinel_password, is ***"


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "WEBHOOK_SECRET"])
def test_a_secret_comes_from_a_file_and_is_handed_on_as_one(name, tmp_path):
    from dropscribe.core.settings_loading import as_environment

    file = tmp_path / "secret"
    file.write_text("redis://:Zq7xVwK@queue/0\n")
    variable = f"DROPSCRIBE_{name}"
    environ = {f"{variable}_FILE": str(file), "DROPSCRIBE_HOME": str(tmp_path)}
    settings = load(environ)
    (origin,) = [one for one in origins(settings, environ) if one.variable == variable]
    assert (origin.source, leaked(origin.value), "***" in origin.value) == (str(file), set(), True)
    handed = as_environment(settings, environ, overrides={})
    assert (handed[f"{variable}_FILE"], variable in handed) == (str(file), False)
    assert load(handed) == settings


def test_a_secret_that_is_given_twice_or_cannot_be_read_is_refused(tmp_path: Path):
    twice = {"DROPSCRIBE_REDIS_URL": "redis://a", "DROPSCRIBE_REDIS_URL_FILE": "/a"}
    with pytest.raises(DropscribeError, match="both DROPSCRIBE_REDIS_URL and DROPSCRIBE_REDIS_URL_FILE"):
        load(twice)
    with pytest.raises(DropscribeError, match="DROPSCRIBE_REDIS_URL_FILE names /nowhere/a: No such file"):
        load({"DROPSCRIBE_REDIS_URL_FILE": "/nowhere/a"})
    with pytest.raises(DropscribeError, match="unknown environment variable DROPSCRIBE_ENGINE_FILE"):
        load({"DROPSCRIBE_ENGINE_FILE": "/a"})

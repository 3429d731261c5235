"""Where notifications may go, how they are signed, and when they are tried again."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.errors import SettingsError
from dropscribe.core.mail_settings import Mail
from dropscribe.core.settings_loading import load, origins
from dropscribe.scheduler.duties import channel, webhook
from tests.documents import REPOSITORY, blocks

SETTINGS = load(
    {"DROPSCRIBE_WEBHOOK_URL": "http://ours.example/x", "DROPSCRIBE_WEBHOOK_HOSTS": "a.example, b.example:8443"}
)


def verify() -> object:
    """The function that docs/notifications.md shows."""
    (block,) = [
        block for block in blocks((REPOSITORY / "docs" / "notifications.md").read_text()) if block.language == "python"
    ]
    shown: dict[str, object] = {}
    exec(block.body, shown)
    return shown["is_genuine"]


IS_GENUINE = verify()


@pytest.mark.parametrize(
    "url",
    [
        "http://ours.example/x",
        "https://a.example/any?where=1",
        "http://a.example",
        "http://A.example:80/",
        "https://a.example:443/",
        "https://b.example:8443/",
    ],
)
def test_notifications_go_to_the_setting_and_to_hosts_on_the_list(url: str) -> None:
    assert webhook.refusal(url, SETTINGS) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://ours.example/another", "ours.example is not among webhook_hosts"),
        ("http://169.254.169.254/latest", "169.254.169.254 is not among"),
        ("http://localhost/", "localhost is not among"),
        ("http://[::1]/", "::1 is not among"),
        ("http://a.example:6379/", "a.example:6379 is not among"),
        ("https://b.example/", "b.example is not among"),
        ("https://evil.example#a.example", "evil.example is not among"),
        ("https://a.example.evil.example/", "a.example.evil.example is not among"),
        ("https://a.example@evil.example/", "without a password"),
        ("https://user:word@a.example/", "without a password"),
        ("file:///etc/passwd", "not an http://"),
        ("ftp://a.example/", "not an http://"),
        ("gopher://a.example/", "not an http://"),
        ("a.example", "not an http://"),
        ("http://", "not an http://"),
        ("http://a.example:port/", "not an http://"),
        ("http://[a.example/", "not an http://"),
        ("", "no webhook_url any more"),
    ],
)
def test_nothing_is_sent_anywhere_else(url: str, why: str) -> None:
    assert why in webhook.refusal(url, SETTINGS)


def test_a_signature_is_that_of_the_specification() -> None:
    key = webhook.key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = webhook.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.binary())
def test_the_documented_check_takes_what_is_ours_and_nothing_else(secret: str, body: bytes) -> None:
    try:
        key = webhook.key(secret)
    except SettingsError:
        return
    now = int(time.time())
    told = webhook.headers(key, "msg_1", now, body)
    if not key:
        assert "webhook-signature" not in told
        return
    assert IS_GENUINE(secret, told, body)
    assert not IS_GENUINE(secret, told, body + b" ")
    assert not IS_GENUINE("another" + secret.removeprefix("whsec_"), told, body)
    assert not IS_GENUINE(secret, told | {"webhook-id": "msg_2"}, body)
    assert not IS_GENUINE(secret, {}, body), "not signed"
    assert not IS_GENUINE(secret, webhook.headers(key, "msg_1", now - 3600, body), body), "played back"


def test_a_secret_that_is_not_base64_is_refused() -> None:
    with pytest.raises(SettingsError, match="webhook_secret begins with whsec_"):
        webhook.key("whsec_?")


@given(st.integers(1, 60), st.floats(0, 1))
def test_tries_are_further_and_further_apart_but_within_an_hour(tries: int, chance: float) -> None:
    pause = channel.delay(tries, chance)
    assert 5.0 <= pause <= channel.MAX_DELAY
    assert pause <= channel.delay(tries + 1, chance)


def test_a_mail_server_may_be_away_for_a_day() -> None:
    assert sum(channel.delay(tries, 0.0) for tries in range(1, Mail().tries)) > 86_400


def test_all_tries_together_take_about_five_hours() -> None:
    assert sum(channel.delay(tries, 1.0) for tries in range(1, SETTINGS.webhook_tries)) == pytest.approx(
        5 * 3600, rel=0.1
    )


def test_the_secret_is_never_shown_and_the_url_without_its_password() -> None:
    environment = {"DROPSCRIBE_WEBHOOK_URL": "https://u:pw@a.example/", "DROPSCRIBE_WEBHOOK_SECRET": "whsec_aGVsbG8="}
    shown = {origin.name: origin.value for origin in origins(load(environment), environment)}
    assert shown["webhook_secret"] == "***"
    assert shown["webhook_url"] == "https://u:***@a.example/"
    with pytest.raises(SettingsError, match="DROPSCRIBE_WEBHOOK_URL"):
        load({"DROPSCRIBE_WEBHOOK_URL": "file:///etc/passwd"})

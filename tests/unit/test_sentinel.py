"""How the URL of a Redis behind sentinels is read."""

from __future__ import annotations

import pytest

from dropscribe.core.errors import UsageError
from dropscribe.core.queue import broker_url, transport_options
from dropscribe.core.sentinel import PATIENCE, SentinelAddress, sentinel_address
from dropscribe.core.settings_loading import load


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sentinel://a?master=m", SentinelAddress((("a", 26379),), "m")),
        (
            "sentinel://ann:se%2Fcr%40et@a:1,b,[::1]:2/3?master=m&sentinel_password=p%26w",
            SentinelAddress((("a", 1), ("b", 26379), ("::1", 2)), "m", 3, "ann", "se/cr@et", "p&w"),
        ),
        ("redis://a:1/0", None),
        ("unix:///run/redis.sock", None),
    ],
)
def test_a_url_names_sentinels_and_their_master(url: str, address: SentinelAddress | None) -> None:
    assert sentinel_address(url) == address


@pytest.mark.parametrize("url", ["sentinel://a:1", "sentinel://a:x?master=m", "sentinel://a/b?master=m"])
def test_a_url_without_a_master_or_with_a_wrong_port_is_a_mistake(url: str) -> None:
    with pytest.raises(UsageError, match=r"example: sentinel://.*master=NAME"):
        broker_url(load({"DROPSCRIBE_REDIS_URL": url}))


def test_kombu_gets_one_url_without_a_secret_and_the_address_as_an_option() -> None:
    url = "sentinel://:secret@a:1,b:2/3?master=m&sentinel_password=pw"
    settings = load({"DROPSCRIBE_REDIS_URL": url})
    assert broker_url(settings) == "dropscribe-sentinel://sentinel"
    assert transport_options(settings)["address"] == sentinel_address(url)


def test_sentinels_are_not_waited_for_as_long_as_redis_and_have_a_password_of_their_own() -> None:
    assert SentinelAddress((("a", 1),), "m", password="secret").sentinel_options == PATIENCE
    assert SentinelAddress((("a", 1),), "m", sentinel_password="pw").sentinel_options == PATIENCE | {"password": "pw"}

"""The server of `up`: where it is, and that nothing depends on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.admin.local import browser, server_child
from dropscribe.admin.local.server_child import ADDRESS, SERVER, ServerChild
from dropscribe.admin.local.supervisor import Child, GaveUpError, Supervisor
from dropscribe.core.installing import how_to_install


def test_each_start_that_listens_is_said_once_and_counts_as_one_that_worked(tmp_path: Path) -> None:
    said: list[str] = []
    server = ServerChild(tmp_path, said.append)
    server.tell()
    assert not server.died(), "it never listened"
    for address in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        (tmp_path / ADDRESS).write_text(address)
        server.tell()
        server.tell()
        assert server.died()
    assert said == ["the server is at http://127.0.0.1:1", "the server is at http://127.0.0.1:2"]


def test_a_browser_shows_the_first_address_and_no_later_one(tmp_path: Path) -> None:
    shown: list[str] = []
    server = ServerChild(tmp_path, lambda _: None, shown.append)
    for address in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        (tmp_path / ADDRESS).write_text(address)
        server.tell()
        server.died()
    assert shown == ["http://127.0.0.1:1"]


def test_without_its_packages_one_line_says_so_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_child, "PACKAGES", ("no_such_package", "json"))
    said: list[str] = []
    supervisor = Supervisor(tmp_path, {}, lambda _: True)
    assert ServerChild(tmp_path, said.append).start(supervisor) == []
    assert said == [f"no page: no_such_package not installed; {how_to_install('serve')}"]


def test_the_address_of_an_earlier_server_is_not_said_where_none_is_wanted(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / ADDRESS).write_text("http://127.0.0.1:1")
    server = ServerChild(tmp_path, said.append)
    assert server.start(Supervisor(tmp_path, {}, lambda _: True), wanted=False) == []
    server.tell()
    assert said == []


@pytest.mark.parametrize(
    ("environ", "at_terminal", "root", "opens"),
    [
        ({"DISPLAY": ":0"}, True, False, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, False, True),
        ({"DISPLAY": ":0"}, False, False, False),
        ({"DISPLAY": ""}, True, False, False),
        ({}, True, False, False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 22"}, True, False, False),
        ({"DISPLAY": ":0"}, True, True, False),
    ],
)
def test_a_browser_is_opened_only_where_a_person_sits_at_a_display(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], at_terminal: bool, root: bool, opens: bool
) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0 if root else 1000)
    assert browser.is_at_hand(environ, at_terminal=at_terminal) is opens


def test_up_goes_on_without_it_and_without_nothing_else(tmp_path: Path) -> None:
    said: list[str] = []
    server = ServerChild(tmp_path, said.append)
    assert not server.go_on_without(GaveUpError(Child("host-scheduler", ()), "it ends", remedy="look"))
    assert server.go_on_without(GaveUpError(Child(SERVER, ()), "server ends as soon as it starts", remedy="look"))
    assert said == ["server ends as soon as it starts; look. Everything else goes on without it"]

"""The command line: what the doctor finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropscribe.admin.cli.main import COMMANDS
from dropscribe.core.settings import fields, variable
from dropscribe.core.settings_errors import secrets
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import Database
from tests.integration.console import Cli, Ended, process

# With signs that were not escaped, as people write them: a driver takes another piece of it for each of its parts.
WITH_PASSWORDS = {
    "database_url": "postgresql://u:Zq7xVwK@mJ4tRbN@127.0.0.1:1/none?password=Xd9pLcH/x",
    "redis_url": "redis://:Zq7xVwK@mJ4tRbN#1@127.0.0.1:1/0",
    "webhook_url": "https://u:Zq7xVwK@127.0.0.1:1/?token=mJ4tRbN",
    "openai.base_url": "http://u:Zq7xVwK@127.0.0.1:1/v1?key=mJ4tRbN",
}
pytestmark = pytest.mark.usefixtures("environment")


def by_name(shown: Ended) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in shown.json["checks"]}


def test_the_doctor_finds_a_sound_machine_sound(
    store: Database, redis: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_ENGINE", "scripted")
    host = os.uname().nodename
    report_roots(store, [RootReport(str(tmp_path), host, "ext4", online=True, files=3)])
    shown = cli("doctor", "--json")
    found = by_name(shown)
    for name in (
        "database",
        "clock",
        f"folder {tmp_path}",
        "decoder",
        "sandbox",
        "speech detector",
        "speaker encoder",
        "engine",
    ):
        assert found[name]["level"] == "ok", found[name]
    assert "redis" in found
    assert shown.code == 0
    assert "decodes" in cli("doctor").out


def test_the_doctor_of_a_fresh_machine_names_the_first_command(cli: Cli, tmp_path: Path) -> None:
    found = by_name(cli("doctor", "--json"))
    assert (found["database"]["level"], found["redis"]["level"]) == ("warn", "warn")
    assert "dropscribe up" in found["database"]["remedy"]
    assert not (tmp_path / "home").exists()


def test_the_doctor_fails_where_a_configured_server_is_gone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    shown = cli("doctor", "--json")
    found = by_name(shown)
    assert shown.code == 1
    assert (found["database"]["level"], found["redis"]["level"]) == ("fail", "fail")
    assert "secret" not in shown.out


def test_no_command_shows_a_password(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # so that no command finds systemd, or another program
    for name, value in {"ENGINE": "openai", "OPENAI_RETRIES": "0"}.items():
        monkeypatch.setenv(f"DROPSCRIBE_{name}", value)
    for name, kind in secrets(fields()).items():
        monkeypatch.setenv(variable(name), "Xd9pLcH" if kind == "whole" else WITH_PASSWORDS[name])
    (tmp_path / "recordings").mkdir()
    shown = process(
        str(tmp_path / "recordings"),
        code="import runpy; runpy.run_module('tests.integration.every_command', run_name='__main__')",
    )
    assert shown.code == 0, shown.err
    told = (shown.out + shown.err).splitlines()
    assert not [line for line in told for piece in ("zq7xvwk", "mj4trbn", "xd9plch") if piece in line.lower()]
    assert {line.split()[1] for line in told if line.startswith("$ ")} == {*COMMANDS}


def test_a_path_and_a_drivers_message_with_a_semicolon_are_not_cut(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "/srv/one; two")
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "redis://nobody; here:1/0")
    for command in ("doctor", "health"):
        found = by_name(cli(command, "--json"))
        assert found["database"]["finding"] == "/srv/one; two is not a database URL"
        assert found["database"]["remedy"].startswith("example: postgresql://user@host/name")
        assert "nobody; here" in found["redis"]["finding"]
        assert found["redis"]["remedy"] == "start it or correct DROPSCRIBE_REDIS_URL"

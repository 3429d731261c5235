"""`dropscribe service`, with a stand-in for systemctl: what is written, what systemd is told, what is refused."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dropscribe.admin.local import systemd
from dropscribe.admin.local.up import only_one
from tests.conftest import missing
from tests.integration.console import Cli

# Remembers what it was told, and runs a service as far as `show` tells.
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> "{folder}/calls"
case " $* " in
*" restart "*) echo active > "{folder}/active" ;;
*" disable "*) rm -f "{folder}/active" ;;
*" show "*)
    printf 'LoadState=loaded\\nSubState=running\\nResult=success\\nUnitFileState=enabled\\nMainPID=42\\nNRestarts=0\\n'
    echo "ActiveState=$(cat "{folder}/active" 2>/dev/null || echo inactive)" ;;
esac
"""
LOGINCTL = """#!/bin/sh
echo "loginctl $*" >> "{folder}/calls"
exit 1
"""
AWKWARD = "a b%n $HOME 'c' \"d\""  # of a folder: what systemd gives a meaning to

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to watch, and a machine whose systemd does nothing."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)):
        (programs / name).write_text(script.format(folder=tmp_path))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DROPSCRIBE_ENGINE", "scripted")
    monkeypatch.setattr(systemd, "ETC", tmp_path / "etc")
    monkeypatch.delenv("SUDO_USER", raising=False)
    (tmp_path / AWKWARD).mkdir()
    return tmp_path


def unit(machine: Path) -> Path:
    return machine / "config" / "systemd" / "user" / "dropscribe.service"


def variables(machine: Path) -> Path:
    return machine / "config" / "dropscribe" / "service.env"


def calls(machine: Path) -> list[str]:
    return [line for line in (machine / "calls").read_text().splitlines() if " show " not in line]


def verified(path: Path, *options: str) -> str:
    """What systemd itself says of a unit of ours."""
    if not shutil.which("systemd-analyze"):
        missing("systemd-analyze")
    command = ["systemd-analyze", *options, "verify", str(path)]
    ran = subprocess.run(
        command, env={**os.environ, "XDG_RUNTIME_DIR": str(path.parent)}, capture_output=True, text=True
    )
    assert "initialize" not in ran.stderr, ran.stderr
    return "\n".join(line for line in ran.stderr.splitlines() if path.name in line)


def test_a_user_installs_up_with_what_is_said_now(machine: Path, cli: Cli) -> None:
    shown = cli("service", "install", str(machine / AWKWARD), "--user")
    assert shown.code == 0, shown.err
    assert calls(machine)[:3] == [
        "systemctl --user daemon-reload",
        "systemctl --user enable dropscribe.service",
        "systemctl --user restart dropscribe.service",
    ]
    assert unit(machine).read_text() in shown.out
    assert re.search("state +active", shown.out)
    assert "sudo loginctl enable-linger" in shown.err  # the stand-in for loginctl refuses
    assert verified(unit(machine), "--user") == ""
    unit(machine).write_text(unit(machine).read_text().replace('folders "', "folders "))
    assert "Unbalanced quoting" in verified(unit(machine), "--user")  # so it would have been noticed


def test_the_service_runs_up_over_the_folder(machine: Path, cli: Cli) -> None:
    cli("service", "install", str(machine / AWKWARD), "--user")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit(machine).read_text(), re.MULTILINE)
    program, verb, waits, folder = shlex.split(line)
    assert Path(program) == Path(sys.executable).with_name("dropscribe")
    assert (verb, waits, folder) == (
        "up",
        "--wait-for-folders",
        str(machine / AWKWARD).replace("%", "%%").replace("$", "$$"),
    )


def test_a_link_that_is_watched_stays_one_so_that_the_service_follows_where_it_leads_later(
    machine: Path, cli: Cli
) -> None:
    (machine / "current").symlink_to(machine / AWKWARD)
    assert cli("service", "install", str(machine / "current"), "--user").code == 0
    assert f'up --wait-for-folders "{machine}/current"\n' in unit(machine).read_text()


def test_a_process_of_the_service_has_the_settings_of_now(
    machine: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_CONTEXT", 'Ada "Countess" $HOME `id` \\ Lovelace')
    monkeypatch.setenv("DROPSCRIBE_SPOOL", "spool")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.chdir(machine)
    (machine / "dropscribe.toml").write_text("stable_seconds = 5\n")
    options = ["--model", "small", "--engine", "whisper", "--language", "de"]
    assert cli("service", "install", AWKWARD, "--user", *options).code == 0
    assert variables(machine).stat().st_mode & 0o777 == 0o600  # passwords may be among them
    source = f"set -a; . {shlex.quote(str(variables(machine)))}; exec {sys.executable} -m dropscribe config --json"
    ran = subprocess.run(["env", "-i", "sh", "-c", source], cwd="/", capture_output=True, text=True, check=True)
    found = {one["name"]: one["value"] for one in json.loads(ran.stdout)["settings"]}
    assert found["context"] == 'Ada "Countess" $HOME `id` \\ Lovelace'
    assert found["spool"] == str(machine / "spool")
    assert (found["engine"], found["model"], found["language"]) == ("whisper", "small", "de")
    assert found["stable_seconds"] == "5.0"
    assert found["home"] == str(machine / "home")
    assert 'HF_ENDPOINT="https://mirror.example"' in variables(machine).read_text()


def test_a_service_over_a_bucket_has_the_credentials_of_now_and_no_other_service_has_them(
    machine: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "talks")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(machine / "none"))
    monkeypatch.setenv("AWS_CA_BUNDLE", "/srv/authority.pem")
    monkeypatch.chdir(machine)
    assert cli("service", "install", AWKWARD, "--user").code == 0
    assert "AWS_" not in variables(machine).read_text()
    installed = cli("service", "install", AWKWARD, "s3://talks/2026/", "--user")  # out of reach, and awaited
    assert installed.code == 0, installed.err
    assert variables(machine).stat().st_mode & 0o777 == 0o600
    assert {
        'AWS_PROFILE="talks"',
        f'AWS_CONFIG_FILE="{machine}/none"',
        'AWS_CA_BUNDLE="/srv/authority.pem"',
    } < set(variables(machine).read_text().splitlines())
    assert unit(machine).read_text().count(' "s3://talks/2026"\n') == 1
    assert verified(unit(machine), "--user") == ""
    assert "lies in s3://talks/" in cli("service", "install", "s3://talks", "s3://talks/2026", "--user").err


def test_a_service_of_the_machine_runs_as_whoever_called_sudo(
    machine: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "daemon")
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.delenv("DROPSCRIBE_HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert cli("service", "install", str(machine / AWKWARD)).code == 0
    written = machine / "etc" / "systemd" / "system" / "dropscribe.service"
    assert "User=daemon\n" in written.read_text()
    home = (machine / "etc" / "dropscribe" / "service.env").read_text()
    assert 'DROPSCRIBE_HOME="/usr/sbin/.local/state/dropscribe"' in home
    assert calls(machine)[-1] == "systemctl restart dropscribe.service"
    assert verified(written) == ""


def test_uninstalling_removes_what_installing_wrote_and_nothing_else(machine: Path, cli: Cli) -> None:
    cli("service", "install", str(machine / AWKWARD), "--user")
    (machine / "home").mkdir()
    (machine / "home" / "dropscribe.db").touch()
    assert cli("service", "uninstall", "--user").code == 0
    assert calls(machine)[-2:] == [
        "systemctl --user disable --now dropscribe.service",
        "systemctl --user daemon-reload",
    ]
    assert not unit(machine).exists()
    assert not variables(machine).exists()
    assert (machine / "home" / "dropscribe.db").exists()


def test_status_says_whether_it_runs(machine: Path, cli: Cli) -> None:
    cli("service", "install", str(machine / AWKWARD), "--user")
    assert cli("service", "status", "--user").code == 0
    (machine / "active").write_text("failed")
    failed = cli("service", "status", "--user")
    assert failed.code == 1
    assert re.search("state +failed", failed.out)
    assert "journalctl --user --unit dropscribe.service" in failed.out


@pytest.mark.parametrize("command", ["status", "uninstall"])
def test_a_service_that_is_not_there_is_looked_for_in_the_other_place(command: str, machine: Path, cli: Cli) -> None:
    nowhere = cli("service", command)
    assert nowhere.code == 2
    assert "dropscribe service install FOLDER" in nowhere.err
    cli("service", "install", str(machine / AWKWARD), "--user")
    assert "add --user" in cli("service", command).err


def test_nothing_is_written_beside_an_up_that_runs(machine: Path, cli: Cli) -> None:
    with only_one(machine / "home"):
        refused = cli("service", "install", str(machine / AWKWARD), "--user")
    assert refused.code == 1
    assert "another `dropscribe up`" in refused.err
    assert not unit(machine).exists()


def test_a_service_that_runs_is_installed_anew(machine: Path, cli: Cli) -> None:
    cli("service", "install", str(machine / AWKWARD), "--user")
    with only_one(machine / "home"):  # by the service
        assert cli("service", "install", str(machine), "--user").code == 0
    assert f'up --wait-for-folders "{machine}"' in unit(machine).read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["file"], "is a file"), (["\udcff"], "not UTF-8")],
)
def test_what_up_or_systemd_would_refuse_is_refused_before_anything_is_started(
    arguments: list[str], said: str, machine: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(machine)
    (machine / "file").touch()
    refused = cli("service", "install", *arguments, "--user")
    assert refused.code == 2
    assert said in refused.err
    assert not unit(machine).exists()


def test_a_machine_without_systemd_is_told_what_to_do(machine: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine))
    refused = cli("service", "install", str(machine / AWKWARD), "--user")
    assert refused.code == 1
    assert "there is no systemd here" in refused.err
    assert not unit(machine).exists()

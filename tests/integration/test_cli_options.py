"""The command line: how a command ends, its exit code, its help, and what is wrong with its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.admin.cli.main import command
from dropscribe.store.session import Database
from tests.integration.console import Cli
from tests.unit.test_documents import NAMES

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize("command", ["status", "jobs", "show x", "transcript x", "workers", "retry x", "pause"])
def test_a_store_that_is_not_there_is_named_and_not_made(command: str, cli: Cli, tmp_path: Path) -> None:
    shown = cli(*command.split())
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("error: nothing here yet")
    assert "dropscribe up FOLDER" in shown.err
    assert not (tmp_path / "home").exists()


def test_a_wrong_setting_exits_2_and_names_the_right_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_ULR", "redis://x")
    shown = cli("status")
    assert shown.code == 2
    assert "did you mean DROPSCRIBE_REDIS_URL?" in shown.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["statsu"], "status"),
        (["status", "--jsno"], "--json"),
        (["jobs", "--state", "faild"], "'--state' / '-s': 'faild' is not one of"),
        (["worker"], "--role"),
        (["show"], "JOB"),
        (["status", "--watch", "--json"], "exclude"),
    ],
)
def test_a_usage_error_exits_2_with_a_hint(arguments: list[str], hint: str, cli: Cli) -> None:
    cli(*arguments)
    shown = cli(*arguments)  # the second time no less than the first
    said, silent = (shown.out, shown.err) if "--json" in arguments else (shown.err, shown.out)
    assert (shown.code, silent) == (2, "")
    assert hint in said


def test_an_interrupted_command_exits_130(store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dropscribe.admin.ask.status.show", interrupt)
    assert cli("status").code == 130


def test_verbose_adds_the_traceback(cli: Cli) -> None:
    assert "Traceback" not in cli("status").err
    assert "Traceback" in cli("-v", "status").err


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").out.startswith("dropscribe ")


MADE = command().commands.items()
GROUPS = {f"dropscribe {name}" for name, made in MADE if hasattr(made, "commands")}


@pytest.mark.parametrize("path", sorted(NAMES - GROUPS - {"dropscribe COMMAND --help"}))
def test_every_command_has_help_with_an_example_and_is_documented(path: str, cli: Cli) -> None:
    shown = cli(*path.split()[1:], "--help")
    assert shown.code == 0
    assert path in shown.out.partition("Examples:")[2]
    assert f"### {path}\n" in DOC


def test_commands_are_grouped() -> None:
    panels = [made.rich_help_panel for _, made in MADE]
    assert list(dict.fromkeys(panels)) == ["Run", "Ask", "Change", "Check", "Models", "Voices", "Server", "Service"]

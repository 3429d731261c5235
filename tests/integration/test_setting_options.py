"""Settings as options: what shapes a transcript is an option of what transcribes, by its one declaration."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dropscribe.admin.cli import main
from dropscribe.admin.client import Client, JobSettings
from dropscribe.core.folder_settings import CARRIED
from dropscribe.core.settings import LATER, SHAPING, Settings, fields, job_options, options
from dropscribe.core.settings_loading import as_environment, load
from dropscribe.models.vibevoice.settings import VibeVoiceSettings
from dropscribe.store import queries
from dropscribe.store.session import Database
from tests.e2e.harness import speech
from tests.integration.console import Cli

OF_A_WORKER = ("up", "worker", "service install")
OF_THE_SEEDS = (
    "--model", "--precision", "--attention", "--context", "--hotwords", "--max-new-tokens", "--temperature",
    "--repetition-penalty", "--verbose", "--output",
)  # fmt: skip


def offered(path: str) -> set[str]:
    """The names of all options of a command."""
    command: Any = main.command()
    for name in path.split():
        command = command.commands[name]
    context = command.context_class(command, info_name=path)
    return {name for param in command.get_params(context) for name in (*param.opts, *param.secondary_opts)}


def called(names: Iterable[str]) -> set[str]:
    return {f"--{name.rpartition('.')[2].replace('_', '-')}" for name in names}


@pytest.mark.parametrize("command", OF_A_WORKER)
def test_every_setting_that_shapes_a_transcript_is_an_option_of_what_transcribes(command: str) -> None:
    assert offered(command) >= called(options()) | set(OF_THE_SEEDS)


def test_what_is_part_of_the_digest_is_an_option() -> None:
    assert {*SHAPING, *LATER} <= set(options())
    assert {f"vibevoice.{name}" for name in VibeVoiceSettings().shaping()} <= set(options())
    assert set(options()) <= set(fields())


def test_every_setting_that_a_job_may_have_is_an_option_of_submit() -> None:
    per_job = set(CARRIED) & set(Settings.model_fields)
    assert set(job_options()) == per_job | {"context", "hotwords"}
    assert offered("submit") >= called(job_options()) | {"--priority", "--verbose"}
    from_python = {*inspect.signature(Client.submit).parameters, *JobSettings.__annotations__}
    assert from_python == set(job_options()) | {"self", "path", "priority", "own"}
    assert "--temperature" not in offered("submit"), "a worker has it, a job has not"


def test_what_options_say_reaches_every_process_of_up_by_its_environment(tmp_path: Path) -> None:
    said = {
        "home": str(tmp_path), "temperature": "0.2", "results": str(tmp_path / "out"), "vibevoice.attention": "sdpa",
        "outputs": "srt,txt", "known_voices": True, "engine": None,
    }  # fmt: skip
    settings = load({}, overrides=said)
    again = load(as_environment(settings, {}, overrides=said))
    assert again == settings
    assert (again.temperature, again.outputs, again.known_voices) == (0.2, ("srt", "txt"), True)
    assert again.of(VibeVoiceSettings).attention == "sdpa"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("up . --temperature warm", "temperature"),
        ("up . --attention quick", "attention"),
        ("worker --role model --max-new-tokens 0", "max_new_tokens"),
        ("submit talk.wav --speakers many", "speakers"),
        ("submit talk.wav --temperature 1", "--temperature"),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_done(line: str, said: str, store: Database, cli: Cli) -> None:
    ended = cli(*shlex.split(line))
    assert ended.code == 2
    assert said in ended.err
    assert queries.list_jobs(store) == []


def test_a_recording_that_is_submitted_has_settings_of_its_own(
    store: Database, redis: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_FOLDER_MODELS", "small,turbo")
    talk = speech(tmp_path / "talk.wav")
    line = "--language de --speakers 2 --outputs srt,txt --precision int8 --model small --context Ada"
    assert cli("submit", str(talk), *line.split()).code == 0
    (job,) = queries.list_jobs(store)
    assert job.overrides.given == {
        "language": "de", "speakers": "2", "outputs": ("srt", "txt"), "precision": "int8", "model": "small",
    }  # fmt: skip
    assert (job.context, job.model_queue) == ("Ada", "model.auto.int8.small")
    cli("submit", str(talk))
    assert len(queries.list_jobs(store)) == 2, "other settings, another transcript"


def test_a_checkpoint_that_folders_may_not_ask_for_is_refused_and_nothing_is_admitted(
    store: Database, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = str(speech(tmp_path / "talk.wav"))
    refused = cli("submit", talk, "--model", "small")
    assert (refused.code, queries.list_jobs(store)) == (2, [])
    assert "model = 'small': no checkpoint may be named here" in refused.err
    monkeypatch.setenv("DROPSCRIBE_FOLDER_MODELS", "turbo")
    assert "model = 'small': it may be one of turbo" in cli("submit", talk, "--model", "small").err


def test_verbose_may_follow_the_command(store: Database, cli: Cli) -> None:
    assert "Traceback" not in cli("submit", "nothing.wav").err
    assert "Traceback" in cli("submit", "nothing.wav", "--verbose").err

"""The file that says that all others of a recording are whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dropscribe.core.errors import SettingsError
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import recovery, speakers
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.finishing import placement
from tests.integration.one_worker import Died, MakeContext, admit, carry_through


def digests(folder: Path) -> dict[str, str]:
    outputs = (path for path in folder.iterdir() if path.suffix not in {".wav", ".done"})
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs}


def told(marker: Path) -> Any:
    return json.loads(marker.read_text())


def named(marker: Path) -> dict[str, str]:
    return {file["name"]: file["sha256"] for file in told(marker)["files"]}


def test_a_marker_is_written_last_and_names_all_files_with_their_digests(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(marker="done")
    order: list[str] = []
    publish = placement.publish

    def note(temporary: Path, target: Path, *, replaces: bool) -> None:
        order.append(target.name)
        publish(temporary, target, replaces=replaces)

    monkeypatch.setattr(placement, "publish", note)
    job = carry_through(context, admit(context, recording))
    marker = recording.with_suffix(".done")
    assert (told(marker)["job"], told(marker)["state"]) == (job.id, "done")
    assert named(marker) == digests(recording.parent)
    assert sorted(order) == sorted([*digests(recording.parent), "talk.done"])
    assert order[-1] == "talk.done"


def test_without_the_setting_there_is_none(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    assert carry_through(context, admit(context, recording)).state is JobState.DONE
    assert not recording.with_suffix(".done").exists()


def test_a_crash_before_the_marker_is_mended(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(marker="done")
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    stage = placement.stage

    def crash(target: Path, *rest: Any) -> Path:
        if target.suffix == ".done":
            raise Died
        return stage(target, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(placement, "stage", crash)
        with pytest.raises(Died):
            cpu_tasks.finish_job(context, job_id)
    assert not recording.with_suffix(".done").exists()
    recovery.expire_of(context.database, "worker", 3)
    cpu_tasks.finish_job(context, job_id)
    assert named(recording.with_suffix(".done")) == digests(recording.parent)


def test_a_file_of_somebody_else_keeps_its_name(make_context: MakeContext, recording: Path) -> None:
    recording.with_suffix(".done").write_text("mine")
    context = make_context(marker="done")
    carry_through(context, admit(context, recording))
    assert recording.with_suffix(".done").read_text() == "mine"
    assert named(recording.with_name("talk.wav.done")) == digests(recording.parent)


def test_a_marker_follows_its_files_when_they_are_written_again(make_context: MakeContext, recording: Path) -> None:
    context = make_context(marker="done")
    job = carry_through(context, admit(context, recording))
    before = named(recording.with_suffix(".done"))
    speakers.say(context.database, job.id, SpeakerNames({0: "Ada"}))
    cpu_tasks.finish_job(context, job.id)
    after = named(recording.with_suffix(".done"))
    assert after == digests(recording.parent)
    assert after["talk.txt"] != before["talk.txt"]


@pytest.mark.parametrize("ending", ["json", "Done", ".done", "../done", "toolongforit"])
def test_an_ending_that_would_do_harm_is_refused(ending: str) -> None:
    with pytest.raises(SettingsError, match="DROPSCRIBE_MARKER"):
        load({"DROPSCRIBE_MARKER": ending})

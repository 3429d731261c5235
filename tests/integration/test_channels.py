"""One person per channel: each channel is transcribed by itself, and is the speaker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dropscribe.core.types import JobState
from dropscribe.models.scripted.transcriber import Script
from dropscribe.store import queries
from dropscribe.worker import cpu_tasks
from tests import sounds, tones
from tests.integration.one_worker import MakeContext, admit, carry_through, queued, queued_stretches
from tests.tones import RATE, Said

HEARS = Script(hears=True)
AGENT = [Said(0, 1.0, 4.0), Said(0, 9.0, 12.0), Said(0, 17.0, 19.0)]
CALLER = [Said(1, 5.0, 8.0), Said(1, 10.0, 13.0), Said(1, 21.0, 23.0)]  # the second while the agent speaks


def call(path: Path, *channels: list[Said], seconds: float = 24.0) -> Path:
    """A recording with a channel for each person; in that of who says nothing there is some noise."""
    path.parent.mkdir(exist_ok=True)
    audio = np.zeros((round(seconds * RATE), len(channels)), np.float32)
    for channel, said in enumerate(channels):
        if not said:
            audio[:, channel] = 0.01 * sounds.hiss(seconds)
            continue
        alone, _ = soundfile.read(tones.write(path.with_name("alone.wav"), said), dtype="float32")
        audio[: len(alone), channel] = alone
    path.with_name("alone.wav").unlink(missing_ok=True)
    soundfile.write(path, audio, RATE, subtype="PCM_16")
    return path


def document(recording: Path) -> Any:
    return json.loads(recording.with_suffix(".json").read_text())


def turns(transcript: Any, speaker: int) -> list[tuple[float, float]]:
    return [(s["start"], s["end"]) for s in transcript["segments"] if s["speaker"] == speaker]


def roughly(said: list[Said]) -> list[Any]:
    return [pytest.approx((one.start, one.end), abs=0.3) for one in said]


def test_each_channel_is_a_speaker_also_where_both_speak_at_the_same_time(
    make_context: MakeContext, tmp_path: Path
) -> None:
    recording = call(tmp_path / "inbox" / "call.wav", AGENT, CALLER)
    context = make_context(HEARS, channels="separate")
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    assert (len(queued(context, job_id)), queued_stretches(context, job_id)) == (2, []), "no voice is compared"
    job = carry_through(context, job_id)
    assert (job.state, job.reason, job.notes) == (JobState.DONE, "", [])
    told = document(recording)
    assert turns(told, 0) == roughly(AGENT)
    assert turns(told, 1) == roughly(CALLER)
    starts = [segment["start"] for segment in told["segments"]]
    assert starts == sorted(starts)
    assert [(one["number"], round(one["seconds"])) for one in told["speakers"]] == [(0, 8), (1, 8)]
    assert told["source"]["separate_channels"] == [1, 2]
    assert [(track["number"], track["channels"]) for track in told["source"]["tracks"]] == [(1, 2)]
    assert told["source"]["duration"] == 24


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_channels_are_mixed_unless_somebody_says_otherwise(make_context: MakeContext, tmp_path: Path) -> None:
    recording = call(tmp_path / "inbox" / "call.wav", AGENT, CALLER)
    context = make_context(HEARS)
    job_id = admit(context, recording)
    assert carry_through(context, job_id).state is JobState.DONE
    assert document(recording)["source"]["separate_channels"] == []
    assert queries.speech(context.database, job_id, 0) == queries.speech(context.database, job_id)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_folder_of_a_call_centre_keeps_channels_apart(make_context: MakeContext, tmp_path: Path) -> None:
    recording = call(tmp_path / "inbox" / "call.wav", AGENT, CALLER)
    context = make_context(HEARS)
    carry_through(context, admit(context, recording, channels="separate"))
    assert turns(document(recording), 1) == roughly(CALLER)


def test_many_chunks_of_each_channel_and_their_halves_are_told_apart(make_context: MakeContext, tmp_path: Path) -> None:
    agent = [Said(0, float(at), at + 3.0) for at in range(1, 105, 9)]
    caller = [Said(1, float(at), at + 3.0) for at in range(5, 105, 9)]
    recording = call(tmp_path / "inbox" / "call.wav", agent, caller, seconds=110)
    breaks_off = Script(hears=True, behave="truncate", when_longer_than=38, first_n=2)
    context = make_context(
        breaks_off, channels="separate", chunk_seconds=60.0, overlap_seconds=10.0, min_chunk_seconds=5.0
    )
    job = carry_through(context, admit(context, recording))
    assert (job.state, job.reason) == (JobState.DONE, "")
    told = document(recording)
    assert turns(told, 0) == roughly(agent)
    assert turns(told, 1) == roughly(caller)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_channel_in_which_nobody_speaks_has_no_speaker(make_context: MakeContext, tmp_path: Path) -> None:
    recording = call(tmp_path / "inbox" / "call.wav", [], CALLER)
    context = make_context(HEARS, channels="separate")
    carry_through(context, admit(context, recording))
    told = document(recording)
    assert [one["number"] for one in told["speakers"]] == [1]
    assert turns(told, 1) == roughly(CALLER)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_doubtful_names_its_channel(make_context: MakeContext, tmp_path: Path) -> None:
    recording = call(tmp_path / "inbox" / "call.wav", AGENT, CALLER)
    context = make_context(Script(behave="silent"), channels="separate", max_halvings=0)
    job = carry_through(context, admit(context, recording))
    assert job.state is JobState.SUSPECT
    assert job.reason.startswith("channel 1, 0:00:0")
    assert "; channel 2, 0:00:0" in job.reason


def test_a_job_is_planned_anew_where_its_channels_are_no_longer_apart(
    make_context: MakeContext, tmp_path: Path
) -> None:
    recording = call(tmp_path / "inbox" / "call.wav", AGENT, CALLER)
    context = make_context(HEARS, channels="separate")
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    assert len(queued(context, job_id)) == 2
    context.spooled(job_id).unlink()
    mixing = make_context(HEARS)
    job = carry_through(mixing, job_id)
    assert job.state is JobState.QUEUED
    assert carry_through(mixing, job_id).state is JobState.DONE
    assert document(recording)["source"]["separate_channels"] == []

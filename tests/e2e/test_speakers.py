"""Who speaks in a real conversation, told by the real encoder: also when a CPU worker dies while it embeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dropscribe.core.types import JobState
from dropscribe.store.events import events_of
from dropscribe.store.fleet import EMBEDDING, Work, list_workers
from tests.conftest import SAMPLES
from tests.e2e.harness import Machine, wait_until

# The words do not matter here: a model that reads at once, a segment a second, and tells nobody apart.
READS_AT_ONCE = json.dumps({"text": "one", "segment_seconds": 1.0, "speakers": 0})


def conversation(path: Path, times: int) -> Path:
    """Two people who book a hotel, again and again: 13 s each time."""
    with av.open(str(SAMPLES / "hotel.m4a")) as file:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        parts = [part.to_ndarray()[0] for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    soundfile.write(path, np.tile(np.concatenate(parts), times), 16_000)
    return path


def test_a_worker_that_is_killed_while_it_embeds_costs_no_speaker(
    make_machine: Callable[..., Machine], speaker_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(speaker_weights))
    machine = make_machine(SCRIPTED_SCRIPT=READS_AT_ONCE, SPEECH_DETECTOR="silero", SPEAKER_ENCODER="campplus")
    conversation(machine.inbox / "hotel.wav", 12)
    machine.up()
    wait_until("a CPU worker embeds", lambda: any(work.step == EMBEDDING for work in working(machine)))
    machine.kill("dropscribe.admin.local.child cpu")
    job = machine.wait_for("hotel.wav", JobState.DONE)
    machine.stop()
    assert "lost" in {event.kind for event in events_of(machine.database, job.id)}
    transcript = machine.transcript("hotel")
    assert (transcript["notes"], len(transcript["speakers"])) == ([], 2)
    assert all(speaker["seconds"] > 40 for speaker in transcript["speakers"])
    assert not list((machine.home / "spool").iterdir()), "embeddings go with the audio"


def working(machine: Machine) -> list[Work]:
    return [work for worker in list_workers(machine.database) for work in worker.work]

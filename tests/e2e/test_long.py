"""Long recordings beside short ones: nobody waits for ten hours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from dropscribe.core.types import JobState
from dropscribe.store.events import events_of
from tests import tones
from tests.e2e.harness import Machine, speech, wait_until

FEW = 3  # chunks of the long one ahead of it: one for each slot and worker, and the one that runs


def test_a_short_recording_does_not_wait_behind_a_long_one(make_machine: Callable[..., Machine]) -> None:
    script = {"hears": True, "seconds": 0.5}
    machine = make_machine(SCRIPTED_SCRIPT=json.dumps(script), CHUNK_SECONDS="30")
    said = tones.turns(600)
    tones.write(machine.inbox / "long.wav", said)
    machine.up()
    wait_until("the long one is read", lambda: machine.is_in("long.wav", JobState.TRANSCRIBING))
    speech(machine.inbox / "short.tmp.wav", 3)
    shutil.move(machine.inbox / "short.tmp.wav", machine.inbox / "short.wav")
    short = machine.wait_for("short.wav", JobState.DONE)
    long = machine.job("long.wav")
    assert long.state is JobState.TRANSCRIBING, "it was not over before"
    story = {event.kind: event.at for event in events_of(machine.database, short.id)}
    ahead = [
        event
        for event in events_of(machine.database, long.id)
        if event.kind == "transcribing" and story["prepared"] < event.at < story["transcribing"]
    ]
    assert len(ahead) <= FEW
    machine.wait_for("long.wav", JobState.DONE)
    machine.assert_whole("long.wav", "short.wav")
    segments = machine.transcript("long")["segments"]
    assert [s["start"] for s in segments] == pytest.approx([one.start for one in said], abs=0.06)

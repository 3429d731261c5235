"""The engine that the project exists for, from folder to files, on a small checkpoint that really reads digits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jiwer
import pytest

from tests.e2e.harness import Machine

TINY = Path(__file__).parents[1] / "tiny"
RECORDINGS = sorted((TINY / "recordings").glob("*.flac"))


@pytest.mark.timeout(600)  # torch starts slowly on a busy machine
def test_conversations_are_read_with_the_right_words_and_speakers(make_machine: Callable[..., Machine]) -> None:
    """In 4 bits. In fp32 test_conversation.py reads a longer one, and test_models_convert.py these recordings."""
    machine = make_machine(
        ENGINE="vibevoice", MODEL=str(TINY / "checkpoint"), PRECISION="nf4", MODEL_SLOTS="2", CHUNK_SECONDS="60"
    )
    for recording in RECORDINGS:
        shutil.copy(recording, machine.inbox)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    machine.assert_whole(*(recording.name for recording in RECORDINGS))
    said, read, voices = [], [], 0
    for recording in RECORDINGS:
        turns = json.loads(recording.with_suffix(".json").read_text())
        document = machine.transcript(recording.stem)
        assert (document["engine"]["engine"], document["engine"]["precision"]) == ("vibevoice", "nf4")
        assert document["engine"]["attention"]
        assert document["timings"].keys() >= {"encoder", "prefill", "decode"}
        said.append(" ".join(turn["text"] for turn in turns))
        read.append(" ".join(segment["text"] for segment in document["segments"]))
        voices += [s["speaker"] for s in document["segments"]] == [turn["speaker"] for turn in turns]
    assert jiwer.wer(said, read) <= 0.1, (said, read)
    assert voices == len(RECORDINGS), "a voice that comes back gets its old number"

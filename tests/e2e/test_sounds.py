"""Sounds in which nobody speaks go the whole way, by the real detector and the real model: nothing is invented."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sqlalchemy import func, select

from bench import wer
from dropscribe.core.spans import covered
from dropscribe.core.types import JobState, Span
from dropscribe.store import queries
from dropscribe.store.tables import chunks
from dropscribe.worker.preparing import decode
from tests import sounds
from tests.conftest import SAMPLES
from tests.e2e.harness import Machine
from tests.sounds import RATE

SECONDS = 45
LEVEL = 10 ** (-25 / 20)  # of full scale: as loud as the decoder makes speech
SPOKEN = ("weather.flac", "meeting.wav", "news.mp3")
MIXED = "speech with music in its pauses"
MAX_WRONG = 0.06  # of the words: numbers that the model writes in digits
MAX_TOKENS = 3  # for each word, with the times and the marks of the language


def as_loud(made: np.ndarray, factor: float = 1.0) -> np.ndarray:
    return made * factor * LEVEL / max(float(np.sqrt(np.mean(made**2))), 1e-9)


def spoken(name: str, folder: Path) -> np.ndarray:
    """One of the samples as it comes from the decoder."""
    decode.decode(SAMPLES / name, folder / "spoken.flac", decode.DecodeLimits(), label=name)
    return np.asarray(soundfile.read(folder / "spoken.flac")[0])


def mixed(folder: Path) -> tuple[np.ndarray, list[Span]]:
    """Three people who speak one after the other, as much music between them as makes 45 s, and when it plays."""
    parts = [as_loud(spoken(name, folder)) for name in SPOKEN]
    music = np.array_split(as_loud(sounds.music(SECONDS - sum(part.size for part in parts) / RATE)), len(parts) + 1)
    pieces = [music[0]] + [piece for pair in zip(parts, music[1:], strict=True) for piece in pair]
    ends = np.cumsum([0, *(piece.size for piece in pieces)]) / RATE
    return np.concatenate(pieces), [Span(start, end) for start, end in list(pairwise(ends))[::2]]


def tokens(machine: Machine, name: str) -> int:
    """How many tokens the model wrote for a recording, whatever became of them."""
    query = select(func.coalesce(func.sum(chunks.c.output_tokens), 0)).where(chunks.c.job_id == machine.job(name).id)
    with machine.database.read() as connection:
        return int(connection.execute(query).scalar_one())


@pytest.mark.timeout(600)
def test_no_word_is_invented_where_nobody_speaks(
    make_machine: Callable[..., Machine], whisper_base: Path, tmp_path: Path
) -> None:
    machine = make_machine(ENGINE="whisper", LEASE_SECONDS="60")
    machine.environment |= {"HF_HOME": str(whisper_base), "CUDA_VISIBLE_DEVICES": ""}
    for kind, make in sounds.KINDS.items():
        soundfile.write(machine.inbox / f"{kind}.wav", as_loud(make(SECONDS)).clip(-1, 1), RATE)
    speech, played = mixed(tmp_path)
    soundfile.write(machine.inbox / f"{MIXED}.wav", speech.clip(-1, 1), RATE)

    ran = machine.run("up", str(machine.inbox), "--drain")

    assert ran.returncode == 0, ran.stdout
    assert {job.state for job in queries.list_jobs(machine.database)} == {JobState.DONE}
    for kind in sounds.KINDS:
        document = machine.transcript(kind)
        assert (document["segments"], document["reasons"], document["uncovered_speech"]) == ([], [], []), kind
        assert document["notes"] == ["no speech was found"], kind
        assert tokens(machine, f"{kind}.wav") == 0, "it costs less than speech: the model does not hear it"
    expected = " ".join((wer.REFERENCES / f"{Path(name).stem}.txt").read_text() for name in SPOKEN)
    document = machine.transcript(MIXED)
    words = [word for segment in document["segments"] for word in segment["words"]]
    wanted, heard = (wer.normalize(text).split() for text in (expected, " ".join(word["text"] for word in words)))
    assert wer.errors(wanted, heard) <= MAX_WRONG * len(wanted), heard
    assert 0 < tokens(machine, f"{MIXED}.wav") <= MAX_TOKENS * len(wanted)
    found = queries.speech(machine.database, machine.job(f"{MIXED}.wav").id)
    assert sum(covered(music, found) for music in played) < 0.1 * sum(music.duration for music in played)

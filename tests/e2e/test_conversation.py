"""Nine minutes of four voices, read by the real engine in chunks on two workers, of which one is killed half-way."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.queue import redis_url
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState
from dropscribe.models.base import TranscribeRequest
from dropscribe.store.events import events_of
from dropscribe.store.session import open_database
from tests.e2e.harness import wait_until
from tests.e2e.test_fleet import Fleet, model_workers
from tests.tiny.conversation import conversation, phrase_pool, write
from tests.tiny.mixing import Turn, normalize
from tests.tiny.synthesis import Phrase

CHECKPOINT = Path(__file__).parents[1] / "tiny" / "checkpoint"
MINUTES = 9
CHUNK_SECONDS = 60
NEAR = 10.0  # seconds around a cut in which every utterance has to be there once
PATIENCE = 600.0
AT_ONCE = 8  # sentences that are read in one batch, which takes a third of the time
Segments = Sequence[dict[str, Any]]


@pytest.fixture
def fleet(tmp_path: Path, settings: Settings, speaker_weights: Path) -> Iterator[Fleet]:
    url = f"sqlite:///{tmp_path / 'fleet' / 'state' / 'dropscribe.db'}"
    made = Fleet(
        tmp_path / "fleet",
        DATABASE_URL=url,
        REDIS_URL=redis_url(settings),
        ENGINE="vibevoice",
        SPEAKER_ENCODER="campplus",
        MODEL=str(CHECKPOINT),
        PRECISION="fp32",
        MODEL_SLOTS="2",
        CHUNK_SECONDS=str(CHUNK_SECONDS),
        LEASE_SECONDS="20",
        RENEW_SECONDS="2",
    )
    made.environment["HF_HOME"] = str(speaker_weights)
    yield made
    made.close()


@pytest.mark.timeout(1800)
def test_a_long_conversation_is_read_as_well_as_its_sentences(fleet: Fleet, tmp_path: Path) -> None:
    talk = conversation(MINUTES, seed=1)
    open_database(fleet.environment["DROPSCRIBE_DATABASE_URL"]).close()
    fleet.start(PATIENCE)
    write(talk, tmp_path / "talk.flac")  # and its turns beside it
    shutil.move(tmp_path / "talk.flac", fleet.inbox)
    wait_until("half of it is read", lambda: _progress(fleet) > 0.4, PATIENCE)
    victim = next(worker for worker in model_workers(fleet) if worker.doing)
    os.kill(victim.pid, signal.SIGKILL)
    wait_until("it is over", lambda: fleet.is_in("talk.flac", JobState.DONE, JobState.SUSPECT), PATIENCE)
    job = fleet.job("talk.flac")
    events = events_of(fleet.database, job.id)
    assert any(event.kind == "lost" and victim.id in event.detail for event in events)
    assert sum(event.kind == "transcribed" for event in events) > MINUTES
    segments = fleet.transcript("talk")["segments"]

    told, said = _words(segments), " ".join(turn.text for turn in talk.turns)
    wer, alone = jiwer.wer(said, told), _sentences_wer()
    attributed = _attributed(talk.turns, segments)
    covered = _covered(talk.turns, segments)
    doubled, dropped = _at_cuts(fleet, job.id, talk.turns, segments)
    print(f"WER {wer:.1%}, of the sentences alone {alone:.1%}; turns with the right speaker {attributed:.1%}, ")
    print(f"covered {covered:.1%}; utterances doubled at cuts {doubled}, dropped {dropped}; notes {job.notes}")
    assert wer <= alone + 0.01
    assert attributed >= 0.9
    assert covered == 1.0
    assert (job.state, job.missing) == (JobState.DONE, ())
    assert (doubled, dropped) == (0, 0)


def _progress(fleet: Fleet) -> float:
    return max((job.progress for job in fleet.jobs("talk.flac")), default=0.0)


def _words(segments: Segments) -> str:
    return " ".join(segment["text"] for segment in segments if segment["kind"] == "speech")


def _sentences_wer() -> float:
    """What the model makes of each phrase of the conversation by itself."""
    from dropscribe.models.vibevoice.transcriber import VibeVoice

    own = {"MODEL": str(CHECKPOINT), "PRECISION": "fp32", "MODEL_SLOTS": str(AT_ONCE)}
    model = VibeVoice.load(load({f"DROPSCRIBE_{name}": value for name, value in own.items()}))
    silence = np.zeros(SAMPLE_RATE // 2, dtype=np.float32)

    def read(phrase: Phrase) -> str:
        audio = normalize(np.concatenate([silence, phrase.pcm.astype(np.float32) / 32_768, silence]))
        return " ".join(segment.text for segment in model.transcribe(audio, TranscribeRequest()).segments)

    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            told = list(threads.map(read, phrase_pool()))
    finally:
        model.close()
    said = [" ".join(word for word, _, _ in phrase.words) for phrase in phrase_pool()]
    return float(jiwer.wer(said, told))


def _attributed(turns: Sequence[Turn], segments: Segments) -> float:
    """The part of the turns that got their voice's number, under the best naming of four numbers."""
    heard = [max(segments, key=lambda one: _shared(turn, one))["speaker"] for turn in turns]
    common = sorted(set(heard), key=heard.count, reverse=True)[:6]
    voices = sorted({turn.voice for turn in turns})
    names = [*common, *[None] * max(0, len(voices) - len(common))]
    return max(
        sum(
            dict(zip(voices, numbers, strict=True))[turn.voice] == number
            for turn, number in zip(turns, heard, strict=True)
        )
        for numbers in permutations(names, len(voices))
    ) / len(turns)


def _shared(turn: Turn, segment: dict[str, Any]) -> float:
    return min(turn.end, segment["end"]) - max(turn.start, segment["start"])


def _covered(turns: Sequence[Turn], segments: Segments) -> float:
    """The part of the turns of which most is in some segment."""
    return sum(
        sum(max(0.0, _shared(turn, one)) for one in segments) > 0.5 * (turn.end - turn.start) for turn in turns
    ) / len(turns)


def _at_cuts(fleet: Fleet, job_id: str, turns: Sequence[Turn], segments: Segments) -> tuple[int, int]:
    """Utterances near the cuts of which half as many words more, or half of the words less, are told than were said."""
    from dropscribe.store.transcripts import transcribed

    cuts = [chunk.keep.start for chunk in transcribed(fleet.database, job_id).chunks[1:]]
    near = [turn for turn in turns if any(turn.start - NEAR < cut < turn.end + NEAR for cut in cuts)]
    told = [
        len(_words([s for s in segments if _shared(turn, s) > 0.5 * (s["end"] - s["start"])]).split()) for turn in near
    ]
    said = [len(turn.words) for turn in near]
    doubled = sum(heard > max(1.5 * count, count + 1) for heard, count in zip(told, said, strict=True))
    return doubled, sum(heard < 0.5 * count for heard, count in zip(told, said, strict=True))

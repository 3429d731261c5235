"""Recordings of which it is known who speaks when, or who says which word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.wer import normalize
from dropscribe.core.types import Span
from dropscribe.worker.merging.speaker_turns import SpeakerTurn
from samples.make import SAMPLES

FOLDER = Path(__file__).parents[1] / "samples"
WHOLE = 36_000.0  # s; no recording here is as long
ONE = (("whole", WHOLE),)
CUTS = (("30 s", 30.0), ("2 min", 120.0), ("5 min", 300.0), *ONE)
TINY_CUTS = (("30 s", 30.0), ("1 min", 60.0))  # the tiny checkpoint transcribes no more at once

Said = tuple[tuple[str, int], ...]  # words, and who says each


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording, how many speak in it, their turns and words as far as they are known; `engine` transcribes it in
    windows of so many seconds as `cuts` names."""

    name: str
    path: Path
    speakers: int
    turns: tuple[SpeakerTurn, ...] = ()
    words: Said = ()
    engine: str = "whisper"
    cuts: tuple[tuple[str, float], ...] = CUTS


def talk3(folder: Path) -> Reference:
    """Six minutes of three voices (synthetic), with their text: a sample of VibeVoice's repository."""
    said = json.loads((folder / "talk3.json").read_text(encoding="utf-8"))["segments"]
    turns = tuple(SpeakerTurn(Span(turn["start"], turn["end"]), turn["speaker"]) for turn in said)
    words = tuple((word, turn["speaker"]) for turn in said for word in normalize(turn["text"]).split())
    return Reference("talk3", folder / "talk3.mp3", 3, turns, words)


def phone2(folder: Path) -> Reference:
    """Half a minute of two people on the telephone: a sample of pyannote's repository."""
    lines = [line.split() for line in (folder / "phone2.rttm").read_text(encoding="utf-8").splitlines()]
    people = sorted({line[7] for line in lines})
    spans = [Span(float(line[3]), float(line[3]) + float(line[4])) for line in lines]
    turns = tuple(SpeakerTurn(span, people.index(line[7])) for span, line in zip(spans, lines, strict=True))
    return Reference("phone2", folder / "phone2.wav", len(people), turns, cuts=ONE)


def tiny(folder: Path, minutes: float) -> Reference:
    """A conversation of four voices, made in `folder`, of which the tiny checkpoint tells who speaks."""
    from tests.tiny.conversation import conversation, write

    talk, path = conversation(minutes, seed=1), folder / "tiny.flac"
    write(talk, path)
    turns = tuple(SpeakerTurn(Span(turn.start, turn.end), turn.speaker) for turn in talk.turns)
    words = tuple((word, turn.speaker) for turn in talk.turns for word, _, _ in turn.words)
    return Reference("tiny", path, len({turn.speaker for turn in turns}), turns, words, "vibevoice", TINY_CUTS)


def sample(stem: str) -> Reference:
    """One of the samples, of which the words are known and not the times."""
    made = next(sample for sample in SAMPLES if Path(sample.name).stem == stem)
    voices = sorted({voice for voice, _ in made.lines})
    words = tuple((word, voices.index(voice)) for voice, text in made.lines for word in normalize(text).split())
    return Reference(stem, FOLDER / made.name, len(voices), (), words, cuts=ONE)

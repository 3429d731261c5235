"""Make long recordings, of four voices in turns, out of phrases that training never spoke and that are kept here.

`python -m tests.tiny.conversation OUT.flac --minutes 15` writes one with its turns (`OUT.json`); `--pool HELD.npz`
renews the kept phrases. Nothing here needs flite.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.tiny.mixing import Cue, Mixer, Recording, Turn, assemble, normalize
from tests.tiny.synthesis import SAMPLE_RATE, VOICES, Phrase

POOL = Path(__file__).with_name("phrases_held_out.flac")
POOL_SIZE = 72
DROPPED_BITS = 3  # of the pool's 16: 58 dB below the speech, and half of the file
PAUSES = (0.5, 5.0)  # s between turns
LEVEL = 0.06  # of the pool's phrases; the noise stays 40 dB below


def conversation(minutes: float, seed: int) -> Recording:
    """At least so many minutes: each turn one or two phrases of another voice than the turn before, at their own speed.

    Normalized to -25 dBFS as a whole, over faint noise; speakers are numbered by first appearance in the recording.
    No voice says the same phrase twice in a row. The same arguments give the same recording.
    """
    draw = random.Random(seed)
    cues: list[Cue] = []
    voice, seconds, said = -1, 0.0, dict.fromkeys(range(len(VOICES)), -1)
    while seconds < 60 * minutes:
        voice = draw.choice([one for one in range(len(VOICES)) if one != voice])
        numbers = _pick(draw, voice, said)
        cues.append(Cue(tuple(phrase_pool()[number] for number in numbers), draw.uniform(*PAUSES)))
        seconds += cues[-1].pause + sum(phrase.pcm.size for phrase in cues[-1].phrases) / SAMPLE_RATE
    return _over_noise(assemble(cues, draw.uniform(*PAUSES)), seed)


def lineup(clips: int, seed: int) -> Recording:
    """So many clips of 2 to 5 s, each of one voice, with pauses of 0.5 to 1 s: who is who?"""
    return Mixer(phrase_pool(), f"line-up {seed}").lineup(clips)


def _pick(draw: random.Random, voice: int, said: dict[int, int]) -> list[int]:
    """One or two numbers of the voice's phrases; `said` remembers each voice's last."""
    numbers: list[int] = []
    for _ in range(draw.randint(1, 2)):
        mine = [i for i, phrase in enumerate(phrase_pool()) if phrase.voice == voice and i != said[voice]]
        said[voice] = draw.choice(mine)
        numbers.append(said[voice])
    return numbers


def _over_noise(plain: Recording, seed: int) -> Recording:
    noise = np.random.default_rng(seed).standard_normal(plain.audio.size, np.float32) * np.float32(LEVEL / 100)
    return Recording(normalize(plain.audio + noise), plain.turns)


@functools.cache
def phrase_pool() -> tuple[Phrase, ...]:
    """The kept phrases, of all voices alike."""
    samples, _ = soundfile.read(POOL, dtype="int16")
    phrases, start = [], 0
    for entry in json.loads(POOL.with_suffix(".json").read_text(encoding="utf-8")):
        words = tuple((word, begin, end) for word, begin, end in entry["words"])
        phrases.append(Phrase(VOICES.index(entry["voice"]), samples[start : start + entry["samples"]], words))
        start += entry["samples"]
    return tuple(phrases)


def write_pool(phrases: Sequence[Phrase], path: Path = POOL) -> None:
    """Keep the first `POOL_SIZE` phrases, every voice in turn, in a FLAC file and a table of their words."""
    kept = phrases[:POOL_SIZE]
    samples = np.concatenate([phrase.pcm for phrase in kept]) >> DROPPED_BITS << DROPPED_BITS
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16", compression_level=1.0)
    entries = [
        {
            "voice": VOICES[phrase.voice],
            "samples": phrase.pcm.size,
            "words": [[word, round(start, 3), round(end, 3)] for word, start, end in phrase.words],
        }
        for phrase in kept
    ]
    rows = ",\n".join(" " + json.dumps(entry) for entry in entries)
    path.with_suffix(".json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def write(recording: Recording, path: Path) -> Path:
    """`path` as 16-bit FLAC, and its turns beside it as JSON; returns the latter's path."""
    soundfile.write(path, recording.audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    table = path.with_suffix(".json")
    table.write_text(json.dumps([describe(turn) for turn in recording.turns], indent=1) + "\n", encoding="utf-8")
    return table


def describe(turn: Turn) -> dict[str, object]:
    """Times in seconds; `speaker` counts the voices by first appearance."""
    return {
        "start": round(turn.start, 2),
        "end": round(turn.end, 2),
        "speaker": turn.speaker,
        "voice": VOICES[turn.voice],
        "text": turn.text,
        "words": [{"word": word, "start": round(start, 2), "end": round(end, 2)} for word, start, end in turn.words],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=Path, help="phrases as synthesis.save wrote them, of which to keep some here")
    options = parser.parse_args()
    if options.pool:
        from tests.tiny import synthesis

        write_pool(synthesis.load(options.pool))
    recording = conversation(options.minutes, options.seed)
    write(recording, options.out)
    print(f"{options.out}: {recording.audio.size / SAMPLE_RATE:.0f} s, {len(recording.turns)} turns")


if __name__ == "__main__":
    main()

"""Measure a tiny checkpoint on held-out recordings, in four precisions.

`python -m tests.tiny.evaluate CHECKPOINT [--count N] [--long] [--precisions fp32,bf16]` prints a table. The
recordings are drawn from phrases that training never spoke; the same seed gives the same ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
from transformers import (
    AutoProcessor,
    BitsAndBytesConfig,
    VibeVoiceAsrForConditionalGeneration,
)

from tests.tiny import synthesis
from tests.tiny.conversation import conversation, lineup
from tests.tiny.mixing import Mixer, Recording, Turn, normalize
from tests.tiny.synthesis import SAMPLE_RATE

Segments = list[dict[str, Any]]
Model = Any  # VibeVoiceAsrForConditionalGeneration, whose annotations are stricter than its code
Processor = Any
# Patterns match from the start of a module's name, so that they need the whole path; naming any drops the default
# exclusion of lm_head, so it is named as well.
UNQUANTIZED = [
    "model.acoustic_tokenizer_encoder",
    "model.semantic_tokenizer_encoder",
    "model.multi_modal_projector",
    "lm_head",
]
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {"dtype": torch.float32},
    "bf16": {"dtype": torch.bfloat16},
    "int8": {
        "dtype": torch.bfloat16,
        "quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=UNQUANTIZED),
    },
    "nf4": {
        "dtype": torch.bfloat16,
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=UNQUANTIZED,
        ),
    },
}
TOKENS = 900  # more than twenty turns of a minute can take


@dataclass(frozen=True)
class Score:
    """Shares of all recordings unless said otherwise; `times` is the mean error of Start and End in seconds."""

    wer: float
    valid: float  # the answer is JSON
    turns: float  # as many turns as there were, each over its own time
    speakers: float  # every turn by the right speaker, in order
    attributed: float  # of the turns: the segment that shares most of its time has its speaker
    returning: float  # of the turns of a voice that was heard before: they got its number
    times: float

    def row(self) -> str:
        shares = (self.wer, self.valid, self.turns, self.speakers, self.attributed, self.returning)
        return "  ".join(f"{100 * share:8.1f} %" for share in shares) + f"  {self.times:6.2f} s"


COLUMNS = ("WER", "JSON valid", "turns", "speakers", "attributed", "returning", "times")
HEADER = f"{'':16}" + "  ".join(f"{name:>10}" for name in COLUMNS)


def held_out_recordings(
    phrases: Sequence[synthesis.Phrase], count: int, *, seed: str = "evaluation"
) -> list[Recording]:
    """Recordings that no training saw; training chooses its best checkpoint by others, of another seed."""
    mixer = Mixer(phrases, seed)
    return [mixer.next() for _ in range(count)]


def windows(recording: Recording, longest: float) -> list[Recording]:
    """The recording cut in the middle of pauses into windows of at most so many seconds, each as long as that allows,
    with times and speakers' numbers of its own."""
    cuts = [0.0]
    pauses = [(turn.end + following.start) / 2 for turn, following in itertools.pairwise(recording.turns)]
    for end in (*pauses, recording.audio.size / SAMPLE_RATE):
        if len(cuts) > 1 and end - cuts[-2] <= longest:
            cuts[-1] = end
        else:
            cuts.append(end)
    return [_window(recording, start, end) for start, end in itertools.pairwise(cuts)]


def _window(recording: Recording, start: float, end: float) -> Recording:
    speakers: dict[int, int] = {}
    turns = tuple(
        Turn(
            speakers.setdefault(turn.voice, len(speakers)),
            turn.voice,
            tuple((word, first - start, last - start) for word, first, last in turn.words),
        )
        for turn in recording.turns
        if start <= turn.start < end
    )
    return Recording(normalize(recording.audio[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]), turns)


def long_recordings(count: int, *, seed: int = 1) -> dict[str, list[Recording]]:
    """About so many of each: windows of up to 25, 40 and 60 s out of a conversation, and line-ups."""
    whole = conversation(count, seed)
    sets = {f"{longest} s": windows(whole, longest)[:count] for longest in (25, 40, 60)}
    for least, most in ((2, 8), (9, 16)):
        clips = itertools.islice(itertools.cycle(range(least, most + 1)), count)
        sets[f"{least}-{most} clips"] = [lineup(number, 1000 * seed + i) for i, number in enumerate(clips)]
    return sets


def held_out_phrases(count: int = 400) -> list[synthesis.Phrase]:
    return synthesis.speak_all(count, held_out=True, seed=1)


def parse(text: str) -> Segments | None:
    """The segments of an answer, or None where it is not the JSON that was asked for."""
    body = text.strip().removeprefix("assistant").strip()
    try:
        segments = json.loads(body)
    except json.JSONDecodeError:
        return None
    keys = {"Start", "End", "Speaker", "Content"}
    valid = isinstance(segments, list) and all(isinstance(one, dict) and keys <= one.keys() for one in segments)
    return segments if valid else None


@torch.no_grad()
def transcribe(
    model: Model,
    processor: Processor,
    recordings: Sequence[Recording],
    batch: int = 16,
    tokens: int = TOKENS,
) -> list[str]:
    """Greedy answers through the processor and `generate`, without the noise on the latents."""
    answers: list[str] = []
    for first in range(0, len(recordings), batch):
        audio = [recording.audio for recording in recordings[first : first + batch]]
        inputs = processor.apply_transcription_request(audio, processor_kwargs={"sampling_rate": 24_000})
        inputs["input_values"] = inputs["input_values"].to(model.dtype)
        output = model.generate(**inputs, sample=False, max_new_tokens=tokens)
        answers += processor.decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def score(recordings: Sequence[Recording], answers: Sequence[str]) -> Score:
    parsed = [parse(answer) for answer in answers]
    pairs = [(recording.turns, segments or []) for recording, segments in zip(recordings, parsed, strict=True)]
    returning = [right for turns, segments in pairs for right in _returning(turns, segments)]
    errors = [error for turns, segments in pairs if len(turns) == len(segments) for error in _times(turns, segments)]
    return Score(
        wer=jiwer.wer(
            [" ".join(turn.text for turn in turns) for turns, _ in pairs],
            [" ".join(str(one["Content"]) for one in segments) for _, segments in pairs],
        ),
        valid=float(np.mean([segments is not None for segments in parsed])),
        turns=float(np.mean([_turns_right(turns, segments) for turns, segments in pairs])),
        speakers=float(np.mean([[one.speaker for one in turns] == _speakers(segments) for turns, segments in pairs])),
        attributed=float(np.mean([right for turns, segments in pairs for right in _attributed(turns, segments)])),
        returning=float(np.mean(returning)) if returning else float("nan"),
        times=float(np.mean(errors)) if errors else float("nan"),
    )


def _speakers(segments: Segments) -> list[Any]:
    return [one["Speaker"] for one in segments]


def _turns_right(turns: Sequence[Turn], segments: Segments) -> bool:
    """As many, and each shares at least half of the time that it and its turn cover together."""
    return len(turns) == len(segments) and all(
        2 * _overlap(turn, one) >= max(turn.end, float(one["End"])) - min(turn.start, float(one["Start"]))
        for turn, one in zip(turns, segments, strict=True)
    )


def _overlap(turn: Turn, segment: dict[str, Any]) -> float:
    return min(turn.end, float(segment["End"])) - max(turn.start, float(segment["Start"]))


def _attributed(turns: Sequence[Turn], segments: Segments) -> list[bool]:
    best = [max(segments, key=lambda one: _overlap(turn, one), default=None) for turn in turns]
    return [
        one is not None and _overlap(turn, one) > 0 and one["Speaker"] == turn.speaker
        for turn, one in zip(turns, best, strict=True)
    ]


def _returning(turns: Sequence[Turn], segments: Segments) -> list[bool]:
    speakers = _speakers(segments)
    again = [index for index, turn in enumerate(turns) if turn.voice in {one.voice for one in turns[:index]}]
    return [index < len(speakers) and speakers[index] == turns[index].speaker for index in again]


def _times(turns: Sequence[Turn], segments: Segments) -> list[float]:
    return [
        error
        for turn, one in zip(turns, segments, strict=True)
        for error in (abs(turn.start - float(one["Start"])), abs(turn.end - float(one["End"])))
    ]


def quantized_modules(model: torch.nn.Module) -> set[str]:
    """Names of the linears that bitsandbytes replaced."""
    return {name for name, module in model.named_modules() if type(module).__name__ in {"Linear8bitLt", "Linear4bit"}}


def load(checkpoint: Path, precision: str) -> Model:
    """The checkpoint in one of PRECISIONS. Word error rate would not show it if an encoder were quantized in a model
    this small: so the names of the quantized linears are compared with what they should be."""
    model = VibeVoiceAsrForConditionalGeneration.from_pretrained(checkpoint, **PRECISIONS[precision])
    linears = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    wanted = {
        name
        for name, _ in model.named_modules()
        if name.startswith("model.language_model.layers.") and name.endswith(linears)
    }
    expected = wanted if "quantization_config" in PRECISIONS[precision] else set()
    difference = quantized_modules(model) ^ expected
    if difference:
        raise ValueError(f"{precision}: quantized wrongly or not at all: {sorted(difference)}")
    return model.eval()


def measure(checkpoint: Path, precision: str, sets: dict[str, list[Recording]]) -> None:
    model, processor = load(checkpoint, precision), AutoProcessor.from_pretrained(checkpoint)
    for name, recordings in sets.items():
        begun = time.monotonic()
        answers = transcribe(model, processor, recordings)
        label = f"{precision} {name}"
        print(f"{label:16}{score(recordings, answers).row()}   ({time.monotonic() - begun:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--long", action="store_true", help="windows of a long conversation, and line-ups")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="MatMul8bitLt")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    sets = (
        long_recordings(options.count) if options.long else {"": held_out_recordings(held_out_phrases(), options.count)}
    )
    print(HEADER)
    for precision in options.precisions.split(","):
        measure(options.checkpoint, precision, sets)


if __name__ == "__main__":
    main()

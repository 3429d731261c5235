"""What each position of a training sequence is to predict, and where in the audio it should look for it.

A sequence is prompt, audio frames, request, answer, exactly as the processor lays it out. Beside the next token there
are auxiliary targets: for every audio frame the number, identity, turn and speaker of the last word that ended, for
every position of the answer the number and turn of the word that comes next, and the frames that hold what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import VibeVoiceAsrProcessor

from tests.tiny.mixing import HOP, Recording, answer
from tests.tiny.phrases import DIGITS, WORDS
from tests.tiny.synthesis import SAMPLE_RATE

FRAME_RATE = SAMPLE_RATE / HOP  # 7.5 a second
LEXICON = {word: index for index, word in enumerate(DIGITS + WORDS)}
NONE = -100  # no target here


@dataclass(frozen=True)
class Labels:
    """Targets of one stretch of positions, each (positions,) int64, NONE where there is none.

    `look_from` and `look_to` are the first and the last audio frame (from the recording's begin) to look at.
    """

    ordinal: Tensor
    word: Tensor
    turn: Tensor
    speaker: Tensor
    frame: Tensor
    look_from: Tensor
    look_to: Tensor


@dataclass(frozen=True)
class Example:
    """`ids` (positions,), of which the audio frames are `audio_start` to `audio_start + frames`, the answer from
    `answer_start` on; `labels` (positions,) stand where the prediction is made, one before the token."""

    ids: Tensor
    audio_start: int
    frames: int
    answer_start: int
    labels: Labels
    words: Tensor  # (words,) index in the lexicon plus one, the targets of CTC
    voices: Tensor  # (frames,) voice, NONE in pauses


FIELDS = tuple(Labels.__dataclass_fields__)


def frame_of(seconds: float) -> int:
    return int(seconds * FRAME_RATE)


def _audio_rows(recording: Recording, frames: int) -> list[list[int]]:
    """Per frame: the last word that has ended by the frame's end; ordinal 0 before the first."""
    spoken = [(word, end, number, turn) for number, turn in enumerate(recording.turns) for word, _, end in turn.words]
    rows = []
    for frame in range(frames):
        ended = [entry for entry in spoken if entry[1] <= (frame + 1) / FRAME_RATE]
        if ended:
            word, _, number, turn = ended[-1]
            rows.append([len(ended), LEXICON[word], number + 1, turn.speaker, frame, NONE, NONE])
        else:
            rows.append([0, NONE, 0, NONE, frame, NONE, NONE])
    return rows


def _answer_rows(recording: Recording, tokens: Sequence[str]) -> list[list[int]]:
    """Per token of the answer, by a walk through its fields: what the position before it should know."""
    rows, number, said, field = [], -1, 0, ""
    total = sum(len(turn.words) for turn in recording.turns)
    flat = [entry for turn in recording.turns for entry in turn.words]
    for token in tokens:
        text = token.strip("Ġ")
        if text in {"Start", "End", "Speaker", "Content"}:
            field = text
            number += text == "Start"
        look, frame = (NONE, NONE), NONE
        turn = recording.turns[max(number, 0)]
        if field in {"Start", "End"} and text[0] in "0123456789.":
            frame = frame_of(turn.start if field == "Start" else turn.end)
            look = (frame, frame + 1)
        elif field == "Speaker" and text.isdigit():
            look = (frame_of(turn.start) + 1, frame_of(turn.end) + 1)
        elif field == "Content" and text in LEXICON:
            _, start, end = flat[said]
            look = (frame_of((start + end) / 2), frame_of(end) + 1)
        rows.append([min(said + 1, total + 1), NONE, number + 1, NONE, frame, *look])
        said += field == "Content" and text in LEXICON
    return rows


class Builder:
    """Turns recordings into examples with the processor's own tokens."""

    def __init__(self, processor: VibeVoiceAsrProcessor) -> None:
        self.tokenizer = processor.tokenizer
        conversation: Any = [{"role": "user", "content": [{"type": "audio", "audio": ""}]}]
        prompt = processor.apply_chat_template(conversation, tokenize=False)
        self.before, self.after = prompt.split(processor.audio_token)
        self.audio_id, self.duration = processor.audio_token_id, processor.audio_duration_token

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def build(self, recording: Recording) -> Example:
        frames = -(-recording.audio.size // HOP)
        seconds = f"{recording.audio.size / SAMPLE_RATE:.2f}"
        before, after = self._ids(self.before), self._ids(self.after.replace(self.duration, seconds))
        reply = self._ids(f"<|im_start|>assistant\n{answer(recording.turns)}<|im_end|>\n<|endoftext|>")
        start = len(before) + frames + len(after)
        nothing = [NONE] * len(FIELDS)
        rows = [nothing] * len(before) + _audio_rows(recording, frames) + [nothing] * (len(after) - 1)
        rows += [*_answer_rows(recording, self.tokenizer.convert_ids_to_tokens(reply)), nothing]
        columns = torch.tensor(rows).T
        return Example(
            ids=torch.tensor(before + [self.audio_id] * frames + after + reply),
            audio_start=len(before),
            frames=frames,
            answer_start=start,
            labels=Labels(*columns),
            words=torch.tensor([LEXICON[word] + 1 for turn in recording.turns for word, _, _ in turn.words]),
            voices=_voices(recording, frames),
        )


def _voices(recording: Recording, frames: int) -> Tensor:
    voices = torch.full((frames,), NONE)
    for turn in recording.turns:
        voices[frame_of(turn.start) + 1 : frame_of(turn.end) + 1] = turn.voice
    return voices


@dataclass(frozen=True)
class Batch:
    """Examples padded at their right. `audio` (batch, samples); `ids`, `labels` and `targets` (batch, positions)."""

    audio: Tensor
    ids: Tensor
    targets: Tensor  # the next token where it is the answer's
    is_audio: Tensor
    labels: Labels
    examples: tuple[Example, ...]


def collate(recordings: Sequence[Recording], builder: Builder) -> Batch:
    examples = tuple(builder.build(recording) for recording in recordings)
    audio = torch.zeros(len(examples), max(example.frames for example in examples) * HOP)
    for row, recording in zip(audio, recordings, strict=True):
        row[: recording.audio.size] = torch.from_numpy(recording.audio)
    ids = _pad([example.ids for example in examples], 0)
    targets = _pad([_next_tokens(example) for example in examples], NONE)
    is_audio = torch.zeros_like(ids, dtype=torch.bool)
    for row, example in zip(is_audio, examples, strict=True):
        row[example.audio_start : example.audio_start + example.frames] = True
    labels = Labels(*(_pad([getattr(example.labels, name) for example in examples], NONE) for name in FIELDS))
    return Batch(audio, ids, targets, is_audio, labels, examples)


def _next_tokens(example: Example) -> Tensor:
    following = torch.cat([example.ids[1:], torch.tensor([NONE])])
    following[: example.answer_start - 1] = NONE
    return following


def _pad(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)

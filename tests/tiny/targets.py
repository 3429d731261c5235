"""What each position of a training sequence is to predict, and where in the audio it should look for it.

A sequence is prompt, audio frames, request, answer, exactly as the processor lays it out. Beside the next token there
are auxiliary targets. Every audio frame is to know the last word that ended: which word of its turn, which turn and
when that began, and who spoke. Every position of the answer is to know the same of the frame where it should look. So a
word is found by its turn and its place in the turn, and a turn by the one before it: nothing is counted over a whole
recording but the turns, and they can be told by their starts as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import VibeVoiceAsrProcessor

from tests.tiny.mixing import HOP, Recording, Turn, answer
from tests.tiny.phrases import DIGITS, WORDS
from tests.tiny.synthesis import SAMPLE_RATE

FRAME_RATE = SAMPLE_RATE / HOP  # 7.5 a second
LEXICON = {word: index for index, word in enumerate(DIGITS + WORDS)}
NONE = -100  # no target here


@dataclass(frozen=True)
class Labels:
    """Targets of one stretch of positions, each (positions,) int64, NONE where there is none.

    `ordinal` counts the words of a turn and `turn` the turns, both from one, zero before the first; `start` (of
    the turn), `frame`, and the first and last frame to look at, `look_from` and `look_to`, are audio frames from the
    recording's begin.
    """

    ordinal: Tensor
    word: Tensor
    turn: Tensor
    speaker: Tensor
    start: Tensor
    last: Tensor  # of a word's position in the answer: whether its turn is the recording's last
    voice: Tensor  # of the positions before and after a speaker's number: whose voice it is
    known: Tensor  # of the position before it: how many voices were heard in the turns before
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
    """Per frame: the last word that has ended by the frame's end."""
    spoken = [
        (end, [place, LEXICON[word], number, turn.speaker, frame_of(turn.start), NONE, NONE, NONE])
        for number, turn in enumerate(recording.turns, 1)
        for place, (word, _, end) in enumerate(turn.words, 1)
    ]
    rows, ended = [], 0
    for frame in range(frames):
        while ended < len(spoken) and spoken[ended][0] <= (frame + 1) / FRAME_RATE:
            ended += 1
        known = spoken[ended - 1][1] if ended else [0, NONE, 0, *[NONE] * 5]
        rows.append([*known, frame, NONE, NONE])
    return rows


def _answer_rows(recording: Recording, tokens: Sequence[str], frames: int) -> list[list[int]]:
    """Per token of the answer, by a walk through its fields: what the position before it should know."""
    rows, number, said, field = [], -1, 0, ""
    turns = recording.turns
    for token in tokens:
        text = token.strip("Ġ")
        if text in {"Start", "End", "Speaker", "Content"}:
            field = text
            number, said = number + (text == "Start"), 0
        turn, frame, look, known = turns[max(number, 0)], NONE, (NONE, NONE), [NONE] * 8
        if number >= 0:
            known = [NONE, NONE, number + 1, NONE, frame_of(turn.start), NONE, NONE, NONE]
        if field == "Start":
            known = _known_before(turns, number)
        if field in {"Start", "End"} and text[0] in "0123456789.":
            frame = frame_of(turn.start if field == "Start" else turn.end)
            look = (frame, frame + 1)
        elif field == "Speaker" and (text.isdigit() or text == ',"'):
            known[6] = turn.voice
            known[7] = len({one.voice for one in turns[:number]}) if text.isdigit() else NONE
            look = (frame_of(turn.start) + 1, frame_of(turn.end) + 1)
        elif field == "Content" and text in LEXICON:
            _, start, end = turn.words[said]
            look = (frame_of((start + end) / 2), frame_of(end) + 1)
            said += 1
            known[0], known[5] = said, int(number == len(turns) - 1)
        elif field == "Content" and text.startswith('"') and said == len(turn.words):
            look = _pause_after(turns, number, frames)
        rows.append([*known, frame, *(min(one, frames - 1) for one in look)])
    return rows


def _known_before(turns: Sequence[Turn], number: int) -> list[int]:
    """What the frames at a turn's start know: the end of the turn before it."""
    if number == 0:
        return [0, NONE, 0, *[NONE] * 5]
    before = turns[number - 1]
    return [len(before.words), NONE, number, NONE, frame_of(before.start), NONE, NONE, NONE]


def _pause_after(turns: Sequence[Turn], number: int, frames: int) -> tuple[int, int]:
    """Up to a second of it: that no more words follow can be heard there."""
    first = frame_of(turns[number].end) + 2
    last = frame_of(turns[number + 1].start) - 1 if number + 1 < len(turns) else frames - 1
    return first, max(first, min(last, first + int(FRAME_RATE)))


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
        rows += [*_answer_rows(recording, self.tokenizer.convert_ids_to_tokens(reply), frames), nothing]
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

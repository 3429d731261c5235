"""Where the threshold of the quality check by confidence has to be: its false alarms, and the bad answers it notices.

Run as `python -m bench.confidence --answers FILE`; takes about an hour of CPU. Whisper base transcribes
recordings whose words are known, clean and degraded, in windows of 15, 30 and 60 s, as the product decodes and cuts
them. An answer is good if at most 30 % of its words are wrong and no other quality check fails, bad if at least 60 %
are wrong; what is between them is neither. More bad answers come of French that is read as English, of English that is
read as French, of speech that runs backwards, and of speech that drowns in radio noise. FILE keeps the
answers: a second run transcribes only what is missing, and prints the tables again.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from bench import wer
from dropscribe.core import confidence
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, RawTranscript, Segment, Span
from dropscribe.models import registry
from dropscribe.models.base import Audio, Transcriber, TranscribeRequest
from dropscribe.worker import chunking
from dropscribe.worker.preparing import vad
from dropscribe.worker.preparing.decode import DecodeLimits, decode
from dropscribe.worker.transcribing import quality_checks

ROOT = Path(__file__).parents[1]
SOUNDS = {".wav", ".flac", ".mp3", ".m4a", ".mp4"}
FRENCH = "french.mp3"
PAUSE = 1.0  # s between two recordings
OVERLAP = 2.0  # s that neighbouring windows share
WINDOWS = (15.0, 30.0, 60.0)  # s
FEW = 90.0  # s of speech that are enough of each kind of bad answer
GOOD, BAD = 0.3, 0.6  # of the words wrong: at most, at least
THRESHOLDS = (0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60)
CERTAINTY = 0.95
VOICE = (300.0, 3400.0)  # Hz; the band of a telephone
FULL_SCALE = 32767  # of 16 bits

Degrade = Callable[[Audio, np.random.Generator], Audio]


# Degrading. Audio has the shape (samples,), 24 kHz.


def _noisy(audio: Audio, draw: np.random.Generator, *, ratio: float, slope: float = 0.0) -> Audio:
    """With noise `ratio` dB below the recording; `slope` 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(draw.standard_normal(audio.size))
    pitch = np.fft.rfftfreq(audio.size, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.maximum(pitch, 30.0) ** (slope / 2), audio.size)
    return _sound(audio + noise * (_level(audio) / _level(noise) * 10 ** (-ratio / 20)))


def _band(audio: Audio, _: np.random.Generator, *, low: float, high: float) -> Audio:
    spectrum = np.fft.rfft(audio)
    pitch = np.fft.rfftfreq(audio.size, 1 / SAMPLE_RATE)
    return _sound(np.fft.irfft(np.where((pitch >= low) & (pitch <= high), spectrum, 0), audio.size))


def _gain(audio: Audio, _: np.random.Generator, *, decibels: float) -> Audio:
    """Louder or softer, clipped at full scale and rounded to 16 bits."""
    return _sound(np.round(np.clip(audio * 10 ** (decibels / 20), -1, 1) * FULL_SCALE) / FULL_SCALE)


def _radio(audio: Audio, draw: np.random.Generator) -> Audio:
    """The band of a telephone under static 5 dB louder than the speech, which swells and crackles."""
    swell = 1 + 0.5 * np.sin(2 * np.pi * 0.3 * np.arange(audio.size) / SAMPLE_RATE)
    crackle = 6 * (draw.random(audio.size) < 20 / SAMPLE_RATE)
    static = (draw.standard_normal(audio.size) + crackle * draw.standard_normal(audio.size)) * swell
    voice = _band(audio, draw, low=VOICE[0], high=VOICE[1])
    return _band(_sound(voice + static * (_level(voice) / _level(static) * 10 ** (5 / 20))), draw, low=300, high=3400)


def _telephone(audio: Audio, draw: np.random.Generator) -> Audio:
    low, high = VOICE
    return _noisy(_band(audio, draw, low=low, high=high), draw, ratio=15)


def _level(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio))))


def _sound(audio: np.ndarray) -> Audio:
    return audio.astype(np.float32)


CONDITIONS: dict[str, Degrade] = {
    "clean": lambda audio, _: audio,
    "hiss 10 dB below": partial(_noisy, ratio=10),
    "pink noise 5 dB below": partial(_noisy, ratio=5, slope=1),
    "300 to 3,400 Hz, hiss 15 dB below": _telephone,
    "below 2,000 Hz": partial(_band, low=0, high=2000),
    "45 dB softer": partial(_gain, decibels=-45),
    "25 dB louder, clipped": partial(_gain, decibels=25),
}


@dataclass(frozen=True, slots=True)
class Spoilt:
    """One way to bad answers: what is done to which recordings, and which model is told which language."""

    name: str
    degrade: Degrade = CONDITIONS["clean"]
    french: bool = False
    model: str = "base"
    language: str = ""
    window: float = 30.0


SPOILT = (
    Spoilt("French, read as English", french=True, language="en"),
    Spoilt("French with hiss, read as English", CONDITIONS["hiss 10 dB below"], french=True, language="en"),
    Spoilt("French, read by tiny.en", french=True, model="tiny.en"),
    Spoilt("French by telephone, read by tiny.en", _telephone, french=True, model="tiny.en"),
    Spoilt("English, read as French", language="fr"),
    Spoilt("speech backwards", lambda audio, _: audio[::-1]),
    Spoilt("radio noise 5 dB above", _radio),
    Spoilt("hiss 8 dB above", partial(_noisy, ratio=-8)),
)

NAMES = [*CONDITIONS, *dict.fromkeys(kind.name for kind in SPOILT)]


# Transcribing


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one window; `speech` and the segments (start, end, text, confidence) in its time."""

    source: str
    window: float
    duration: float
    speech: list[tuple[float, float]]
    segments: list[tuple[float, float, str, float]]
    language: str
    ended: str

    @property
    def transcript(self) -> RawTranscript:
        segments = tuple(Segment(start, end, text, confidence=sure) for start, end, text, sure in self.segments)
        return RawTranscript(segments, FinishReason(self.ended), language=self.language)

    @property
    def words(self) -> list[str]:
        return wer.normalize(" ".join(text for _, _, text, _ in self.segments)).split()

    @property
    def confidence(self) -> float | None:
        return confidence.average(self.transcript.segments)


class Answers:
    """All answers so far, by the name of what was transcribed; kept in a file as one line of JSON each."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
        self.known: dict[str, list[Answer]] = dict(map(_read_line, lines))

    def of(self, name: str, make: Callable[[], Iterator[Answer]]) -> list[Answer]:
        if name not in self.known:
            self.known[name] = list(make())
            print(f"{name}: {len(self.known[name])} windows", flush=True)
            self._keep(name)
        return self.known[name]

    def _keep(self, name: str) -> None:
        if self.file:
            line = json.dumps([name, [asdict(answer) for answer in self.known[name]]])
            with self.file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _read_line(line: str) -> tuple[str, list[Answer]]:
    name, answers = json.loads(line)
    return name, [Answer(**answer) for answer in answers]


@dataclass(frozen=True, slots=True)
class Tape:
    """Recordings one after the other, float32 of shape (samples,), 24 kHz, and all words in them, None if unknown."""

    audio: Audio
    words: list[str] | None


@cache
def _engine(model: str) -> Transcriber:
    return registry.create("whisper", Settings.model_validate({"model": model}))


def _transcribe(model: str, tape: Audio, source: str, window: float, language: str = "") -> Iterator[Answer]:
    """One answer for each window of the tape, which is decoded and searched for speech as a recording is."""
    engine = _engine(model)
    with tempfile.TemporaryDirectory(prefix="dropscribe-confidence-") as scratch:
        given, spooled = Path(scratch) / "tape.wav", Path(scratch) / "tape.flac"
        soundfile.write(given, np.clip(tape, -1, 1), SAMPLE_RATE)
        decode(given, spooled, DecodeLimits(), label=source)
        audio, _ = soundfile.read(spooled, dtype="float32")
        found = vad.detect(spooled, vad.load("silero")).spans
        for chunk in chunking.plan(found, audio.size / SAMPLE_RATE, window, overlap=OVERLAP):
            samples = audio[round(chunk.start * SAMPLE_RATE) : round(chunk.end * SAMPLE_RATE)]
            heard = engine.transcribe(samples, TranscribeRequest(language=language))
            inside = [span for span in found if span.start < chunk.end and span.end > chunk.start]
            yield Answer(
                source,
                window,
                chunk.duration,
                [(span.start - chunk.start, span.end - chunk.start) for span in inside],
                [(s.start, s.end, s.text, s.confidence or 0.0) for s in heard.segments],
                heard.language,
                heard.ended,
            )


def _degraded(tape: Tape, name: str, window: float, seed: int) -> Iterator[Answer]:
    audio = CONDITIONS[name](tape.audio, np.random.default_rng(seed))
    return _transcribe("base", audio, name, window, "en")


def _spoilt(tape: Tape, kind: Spoilt, seed: int) -> Iterator[Answer]:
    audio = tape.audio[: round(FEW * SAMPLE_RATE)]
    spoilt = kind.degrade(audio, np.random.default_rng(seed))
    return _transcribe(kind.model, spoilt, kind.name, kind.window, kind.language)


# Judging


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer with the share of its words that are wrong; and of each segment's, after its confidence."""

    answer: Answer
    wrong: float
    segments: tuple[tuple[float, float, int], ...]

    @property
    def sure(self) -> float:
        return self.answer.confidence or 0.0


def wrong_words(heard: Sequence[str], text: Sequence[str]) -> float:
    """The share of words that are wrong, against the part of a text that is nearest to what was heard.

    >>> wrong_words(["cat", "on", "a", "mat"], ["the", "cat", "on", "the", "mat", "slept"])
    0.25
    """
    row = [(0, at) for at in range(len(text) + 1)]  # errors, and where in the text the part begins
    for number, word in enumerate(heard, 1):
        above, row = row, [(number, 0)]
        for at, said in enumerate(text):
            changed, added, left_out = above[at], above[at + 1], row[at]
            row.append(
                min(
                    (changed[0] + (word != said), changed[1]),
                    (added[0] + 1, added[1]),
                    (left_out[0] + 1, left_out[1]),
                )
            )
    errors, length = min((errors, end - begin) for end, (errors, begin) in enumerate(row))
    return errors / max(len(heard), length, 1)


def _judged(answers: Sequence[Answer], words: Sequence[str] | None) -> list[Judged]:
    """Answers that have words. What is said in a tape of unknown words is none of those that are heard."""
    told = [answer for answer in answers if answer.words and answer.confidence is not None]
    return [_judge(answer, words or ()) for answer in told]


def _judge(answer: Answer, words: Sequence[str]) -> Judged:
    heard = [(sure, wer.normalize(text).split()) for _, _, text, sure in answer.segments]
    segments = tuple((sure, wrong_words(own, words), len(own)) for sure, own in heard if own)
    return Judged(answer, wrong_words(answer.words, words), segments)


def _is_good(judged: Judged) -> bool:
    """Right in its words, and not noticed by another check."""
    if judged.wrong > GOOD:
        return False
    answer = judged.answer
    limits = replace(quality_checks.DEFAULT, confidence=0.0)
    speech = [Span(start, end) for start, end in answer.speech]
    return quality_checks.check(answer.transcript, answer.duration, speech, limits).passed


def _is_bad(judged: Judged) -> bool:
    return judged.wrong >= BAD


def bound(alarms: int, count: int) -> float:
    """The highest rate that fits so many alarms, at 95 %: one-sided, Clopper and Pearson, Biometrika 26 (1934) 404.

    For no alarm it is about 3 / count, the rule of three.
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if _at_most(alarms, count, middle) > 1 - CERTAINTY:
            low = middle
        else:
            high = middle
    return high


def _at_most(alarms: int, count: int, rate: float) -> float:
    """The chance of so few alarms if each of `count` answers causes one at this rate."""
    return sum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(alarms + 1))


# Tables


def _print_tables(judged: Sequence[Judged]) -> None:
    good, bad = [one for one in judged if _is_good(one)], [one for one in judged if _is_bad(one)]
    _print_sources(judged)
    _print_bad(bad)
    _print_thresholds(good, bad)
    _print_segments(judged)


def _print_sources(judged: Sequence[Judged]) -> None:
    print(
        f"\n{'source':38}{'window':>8}{'answers':>9}{'good':>6}{'bad':>5}{'confidence of good: least':>27}{'median':>8}"
    )
    for source, window in dict.fromkeys((one.answer.source, one.answer.window) for one in judged):
        these = [one for one in judged if (one.answer.source, one.answer.window) == (source, window)]
        good = sorted(one.sure for one in these if _is_good(one))
        bad = sum(map(_is_bad, these))
        figures = f"{good[0]:27.2f}{median(good):8.2f}" if good else ""
        print(f"{source:38}{window:6.0f} s{len(these):9}{len(good):6}{bad:5}{figures}")


def _print_thresholds(good: Sequence[Judged], bad: Sequence[Judged]) -> None:
    windows = [(f"{window:.0f} s", [one for one in good if one.answer.window == window]) for window in WINDOWS]
    print(
        f"\n{'threshold':>9}{'good answers':>14}{'false alarms':>14}{'rate':>8}{'95 % bound':>12}{'noticed':>9}  of bad"
    )
    for threshold in THRESHOLDS:
        noticed = sum(one.sure < threshold for one in bad)
        for name, these in [("all", list(good)), *windows]:
            alarms = sum(one.sure < threshold for one in these)
            seen = f"{noticed:9}  {len(bad)}" if name == "all" else ""
            print(
                f"{threshold:9.2f}{name:>5}{len(these):9}{alarms:14}{alarms / max(len(these), 1):8.1%}"
                f"{bound(alarms, len(these)):12.1%}{seen}"
            )


def _print_bad(bad: Sequence[Judged]) -> None:
    print(f"\n{'bad answers':38}{'count':>6}{'confidence: least':>19}{'median':>8}{'most':>6}")
    for source in dict.fromkeys(one.answer.source for one in bad):
        sure = sorted(one.sure for one in bad if one.answer.source == source)
        print(f"{source:38}{len(sure):6}{sure[0]:19.2f}{median(sure):8.2f}{sure[-1]:6.2f}")


def _print_segments(judged: Sequence[Judged]) -> None:
    """How many segments are below a threshold, and how many of their words are wrong."""
    kinds = {"good": [one for one in judged if _is_good(one)], "all": judged}
    print(f"\n{'segments of answers':20}{'below':>7}{'count':>7}{'share':>8}{'words wrong':>13}{'in the others':>15}")
    for name, these in kinds.items():
        segments = [segment for one in these for segment in one.segments]
        for threshold in THRESHOLDS if segments else ():
            below = [(rate, words) for sure, rate, words in segments if sure < threshold]
            others = [(rate, words) for sure, rate, words in segments if sure >= threshold]
            share = len(below) / len(segments)
            print(f"{name:20}{threshold:7.2f}{len(below):7}{share:8.1%}{_mean(below):13.0%}{_mean(others):15.0%}")


def _mean(rates: Sequence[tuple[float, int]]) -> float:
    return sum(rate * count for rate, count in rates) / max(sum(count for _, count in rates), 1)


# Material


def _tape(recordings: Sequence[tuple[Path, str | None]]) -> Tape:
    """Decoded as for the spool, one after the other."""
    parts: list[Audio] = []
    with tempfile.TemporaryDirectory(prefix="dropscribe-confidence-") as scratch:
        for path, _ in recordings:
            decoded = Path(scratch) / "part.flac"
            decode(path, decoded, DecodeLimits(), label=path.name)
            parts += [soundfile.read(decoded, dtype="float32")[0], np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)]
    texts = [text for _, text in recordings]
    words = None if None in texts else [word for text in texts for word in wer.normalize(text or "").split()]
    return Tape(np.concatenate(parts), words)


def _known(folders: Sequence[Path]) -> list[tuple[Path, str | None]]:
    """The recordings whose words are known."""
    found = [
        path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if path.suffix in SOUNDS
    ]
    return [(path, wer.read_reference(reference)) for path in found if (reference := wer.reference_of(path))]


def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe what is missing, judge, print the tables."""
    options = _parse(argv)
    chosen = options.only or NAMES
    answers = Answers(options.answers)
    english = _tape(_known([options.audio, ROOT / "samples"]))
    judged = []
    for window, name in product(WINDOWS, (name for name in CONDITIONS if name in chosen)):
        make = partial(_degraded, english, name, window, options.seed)
        judged += _judged(answers.of(f"{name}, {window:.0f} s", make), english.words)
    french = options.audio / FRENCH
    for kind in (kind for kind in SPOILT if kind.name in chosen and (french.exists() or not kind.french)):
        tape = _tape([(french, None)]) if kind.french else english
        make = partial(_spoilt, tape, kind, options.seed)
        judged += _judged(answers.of(f"{kind.name}, {kind.window:.0f} s", make), tape.words)
    _print_tables(judged)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.confidence", description=(__doc__ or "").partition("\n")[0])
    shared = ROOT.parent / "shared" / "audio"
    parser.add_argument("--audio", type=Path, default=shared, help="folder of recordings with NAME.txt or NAME.json")
    parser.add_argument("--answers", type=Path, help="file that keeps the answers of the model")
    parser.add_argument("--only", action="append", choices=NAMES, help="one kind of audio; all unless given")
    parser.add_argument("--seed", type=int, default=1, help="of all noise")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""How often the gate holds back good answers, and how often it notices bad ones.

Run as `python -m bench.gate`; takes about four minutes. An engine reads recordings whose text is known, put end to
end and cut into windows as the product cuts them. Whatever the gate finds wrong with its answers is a false alarm. The
same answers made bad on purpose show what it notices.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.settings import Settings
from dropscribe.core.types import Chunk, FinishReason, RawTranscript, Segment, Span
from dropscribe.models import registry
from dropscribe.models.base import Audio, Transcriber, TranscribeRequest
from dropscribe.models.vibevoice.loops import LoopDetector
from dropscribe.models.vibevoice.settings import VibeVoiceSettings
from dropscribe.worker import chunking
from dropscribe.worker.preparing import vad
from dropscribe.worker.preparing.decode import DecodeLimits, decode
from dropscribe.worker.transcribing import quality_checks
from dropscribe.worker.transcribing.quality_checks import CheckResult, Rule

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "tiny"
SOUNDS = {".wav", ".flac", ".mp3", ".m4a", ".mp4"}
PAUSE = 1.0  # s between two recordings
MAX_LENGTH = 60.0  # s; a longer recording is left out, as it would be most of what is read
OVERLAP = 2.0  # s that neighbouring windows share
SHIFT = 30.0  # s that times are wrong in the answers made bad
HOLE = 5.0  # s that the segment has at least which is taken out of them
REPEATS = 15  # of the words of a segment in a loop
DENSITY = 3  # times as many words as were spoken


@dataclass(frozen=True, slots=True)
class Material:
    """What an engine can read well: settings that load it, folders of recordings, seconds of the windows."""

    settings: dict[str, object]
    folders: tuple[Path, ...]
    windows: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One answer and what it is judged by, in the chunk's time."""

    engine: str
    window: float
    duration: float
    speech: tuple[Span, ...]
    answer: RawTranscript

    def judge(self) -> CheckResult:
        return quality_checks.check(self.answer, self.duration, self.speech)


MATERIALS = {
    "whisper": Material(
        {"model": "base"}, (ROOT / "samples", ROOT.parent / "shared" / "audio"), windows=(15.0, 30.0, 60.0)
    ),
    "vibevoice": Material(
        {
            "model": str(TINY / "checkpoint"),
            "own": {"vibevoice": VibeVoiceSettings.model_validate({"batching": False})},
        },
        (TINY / "recordings",),
        windows=(8.0,),
    ),  # that checkpoint knows nothing longer than ten seconds
}


def main(argv: Sequence[str] | None = None) -> int:
    """Read, judge, spoil, judge again; print the tables."""
    names = _parse(argv).engine or list(MATERIALS)
    cases = [case for name in names for case in _cases(name, MATERIALS[name])]
    verdicts = [case.judge() for case in cases]
    _print_windows(cases, verdicts)
    _print_false_alarms(cases, verdicts)
    _print_noticed(cases)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gate", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--engine", action="append", choices=sorted(MATERIALS), help="which one; both unless given")
    return parser.parse_args(argv)


# Reading


def _cases(name: str, material: Material) -> list[Case]:
    with (
        tempfile.TemporaryDirectory(prefix="dropscribe-gate-") as folder,
        closing(registry.create(name, Settings.model_validate(material.settings))) as model,
    ):
        tape = _tape(material.folders, Path(folder))
        return [case for window in material.windows for case in _read(model, tape, window)]


def _tape(folders: Sequence[Path], scratch: Path) -> Path:
    """The recordings in the folders, decoded as for the spool, one after the other in a single file."""
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    parts: list[Audio] = []
    for path in found:
        if path.suffix in SOUNDS and _has_text(path):
            decoded = scratch / "part.flac"
            decode(path, decoded, DecodeLimits(), label=path.name)
            audio = soundfile.read(decoded, dtype="float32")[0]
            if audio.size <= MAX_LENGTH * SAMPLE_RATE:
                parts += [audio, np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)]
    tape = scratch / "tape.flac"
    soundfile.write(tape, np.concatenate(parts), SAMPLE_RATE)
    return tape


def _has_text(path: Path) -> bool:
    """Is what is said written down? That leaves out other languages: amidst English they would spoil whole windows."""
    return any(
        (folder / path.with_suffix(suffix).name).is_file()
        for folder in (path.parent, path.parent / "references")
        for suffix in (".txt", ".json")
    )


def _read(model: Transcriber, tape: Path, window: float) -> Iterator[Case]:
    """One case for each window."""
    audio, _ = soundfile.read(tape, dtype="float32")
    found = vad.detect(tape, vad.load("silero")).spans
    for chunk in chunking.plan(found, audio.size / SAMPLE_RATE, window, overlap=OVERLAP):
        samples = audio[round(chunk.start * SAMPLE_RATE) : round(chunk.end * SAMPLE_RATE)]
        answer = model.transcribe(samples, TranscribeRequest())
        yield Case(model.info.engine, window, chunk.duration, tuple(_in_chunk(found, chunk)), answer)


def _in_chunk(spans: Sequence[Span], chunk: Chunk) -> Iterator[Span]:
    for span in spans:
        if span.start < chunk.end and span.end > chunk.start:
            yield Span(span.start - chunk.start, span.end - chunk.start)


# Spoiling. Each turns a good answer into a bad one, or says None where that does not make it bad.


def _first_half(case: Case) -> RawTranscript | None:
    segments = case.answer.segments
    return replace(case.answer, segments=segments[: len(segments) // 2]) if len(segments) > 1 else None


def _with_hole(case: Case) -> RawTranscript | None:
    middle = [segment for segment in case.answer.segments[1:-1] if segment.end - segment.start >= HOLE]
    if not middle:
        return None
    return replace(case.answer, segments=tuple(s for s in case.answer.segments if s is not middle[len(middle) // 2]))


def _looping(case: Case) -> RawTranscript | None:
    """An engine without VibeVoice-ASR's detector would only be noticed by its pace."""
    segments = case.answer.segments
    middle = len(segments) // 2
    answer = replace(case.answer, segments=_reworded(segments, lambda index: REPEATS if index == middle else 1))
    detector = LoopDetector()
    looped = any(detector.feed(f"{segment.text}\n") for segment in answer.segments)
    return replace(answer, ended=FinishReason.LOOP) if looped else answer


def _shifted(case: Case) -> RawTranscript | None:
    moved = (replace(s, start=s.start + SHIFT, end=s.end + SHIFT) for s in case.answer.segments)
    return replace(case.answer, segments=tuple(moved))


def _dense(case: Case) -> RawTranscript | None:
    return replace(case.answer, segments=_reworded(case.answer.segments, lambda _: DENSITY))


def _reworded(segments: Sequence[Segment], times: Callable[[int], int]) -> tuple[Segment, ...]:
    return tuple(replace(s, text=" ".join([s.text] * times(index))) for index, s in enumerate(segments))


SPOILERS: dict[str, Callable[[Case], RawTranscript | None]] = {
    "last half of the segments dropped": _first_half,
    f"a segment of {HOLE:.0f} s or more dropped": _with_hole,
    f"words of a segment {REPEATS} times": _looping,
    f"times {SHIFT:.0f} s late": _shifted,
    f"{DENSITY} times the words": _dense,
}


# Tables


def _print_windows(cases: Sequence[Case], verdicts: Sequence[CheckResult]) -> None:
    columns = (
        f"{'window':>8}{'chunks':>8}{'alarms':>8}{'coverage: least':>17}{'median':>8}{'words/s: median':>17}{'most':>6}"
    )
    print(f"\n{'good answers':14}{columns}")
    pairs = sorted(zip(cases, verdicts, strict=True), key=_group)
    for (engine, window), members in groupby(pairs, _group):
        judged = [verdict for _, verdict in members]
        alarms = sum(not verdict.passed for verdict in judged)
        covered = [verdict.measures["coverage"] for verdict in judged]
        pace = [verdict.measures["words_per_second"] for verdict in judged]
        print(
            f"{engine:14}{window:6.0f} s{len(judged):8}{alarms:8}"
            f"{min(covered):17.0%}{median(covered):8.0%}{median(pace):17.1f}{max(pace):6.1f}"
        )


def _group(pair: tuple[Case, CheckResult]) -> tuple[str, float]:
    return pair[0].engine, pair[0].window


def _print_false_alarms(cases: Sequence[Case], verdicts: Sequence[CheckResult]) -> None:
    alarms = Counter(failure.rule for verdict in verdicts for failure in verdict.failures)
    print(f"\n{'rule':14}{'chunks':>8}{'false alarms':>14}{'rate':>7}")
    for rule in Rule:
        print(f"{rule:14}{len(cases):8}{alarms[rule]:14}{alarms[rule] / len(cases):7.1%}")
    for case, verdict in zip(cases, verdicts, strict=True):
        for failure in verdict.failures:
            print(f"  {case.engine}, {case.window:.0f} s: {failure}")


def _print_noticed(cases: Sequence[Case]) -> None:
    print(f"\n{'made bad on purpose':38}{'answers':>9}{'noticed':>9}{'rate':>7}{'or named missing':>18}  by")
    for name, spoil in SPOILERS.items():
        bad = [replace(case, answer=answer) for case in cases if (answer := spoil(case))]
        verdicts = [case.judge() for case in bad]
        noticed = sum(not verdict.passed for verdict in verdicts)
        named = sum(not verdict.passed or bool(verdict.missing) for verdict in verdicts)
        rules = Counter(failure.rule for verdict in verdicts for failure in verdict.failures)
        rate = noticed / len(bad) if bad else 0.0
        by = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
        print(f"{name:38}{len(bad):9}{noticed:9}{rate:7.0%}{named:18}  {by}")


if __name__ == "__main__":
    raise SystemExit(main())

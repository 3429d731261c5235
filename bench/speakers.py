"""Who spoke: error rate, number of speakers and words by the right speaker, however a recording is cut.

Run as `python -m bench.speakers [RECORDING...]`; takes some minutes, the second time less, for what models make of
windows is kept in `build/speakers`. It takes dropscribe's own steps: decoding, speech detection, planning, embedding,
linking, merging. Windows of the model are as long as the second column says, stretches of embedding five minutes, with
`--stretches` as long as the windows. The rival clusters the same embeddings by average linkage, the recording as a
whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jiwer
import numpy as np

from bench import speaker_references
from bench.diarization_error import diarization_error, most_in_common
from bench.speaker_references import WHOLE, Reference, Said
from bench.table import Row, print_rates
from bench.wer import normalize
from dropscribe.core.settings_loading import load as load_settings
from dropscribe.core.types import Segment, SegmentKind, Span, Word
from dropscribe.models import registry
from dropscribe.models.base import Transcriber, TranscribeRequest
from dropscribe.models.speakers import encoder as speaker_encoder
from dropscribe.models.speakers.encoder import SpeakerEncoder
from dropscribe.worker import chunking
from dropscribe.worker.diarizing.diarize import diarize, turns_of
from dropscribe.worker.diarizing.embed import embed
from dropscribe.worker.finishing import finish
from dropscribe.worker.merging.merge_chunks import ChunkOutcome, merge_chunks
from dropscribe.worker.merging.speaker_embeddings import Labels, SpeakerEmbeddings, Vectors
from dropscribe.worker.merging.speaker_linking import Voices
from dropscribe.worker.merging.speaker_turns import SpeakerTurn
from dropscribe.worker.preparing import decode, vad
from dropscribe.worker.preparing.prepare import STRETCH_SECONDS
from dropscribe.worker.runtime import spooled_audio

ROOT = Path(__file__).parents[1]
AUDIO = ROOT.parent / "shared" / "audio"
SETTINGS = {
    "whisper": {"MODEL": "base", "PRECISION": "int8"},
    "vibevoice": {"MODEL": str(ROOT / "tests" / "tiny" / "checkpoint"), "PRECISION": "fp32", "MODEL_SLOTS": "1"},
}
KEPT = ROOT / "build" / "speakers"  # transcripts of windows
COLLAR = 0.25  # s before and after each border of the reference
RIVAL = 0.5  # cosine distance up to which the rival joins
LIMITS = decode.DecodeLimits(max_seconds=WHOLE, memory_mb=2048, cpu_seconds=3600)
NAMES = ("talk3", "phone2", "tiny", "hotel", "meeting", "news", "weather")

LOADED: dict[str, Transcriber] = {}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recording in the spool: its audio, length in seconds and speech."""

    audio: Path
    duration: float
    speech: tuple[Span, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each recording in each cut, print the table and what it costs."""
    options = _parse(argv)
    encoder = speaker_encoder.load(lambda *_: None)
    print(f"{'':12}{'windows':>12}{'speakers':>10}{'DER':>9}{'collar':>9}{'transcript':>12}{'words right':>13}")
    spent = []
    with tempfile.TemporaryDirectory(prefix="dropscribe-speakers-") as scratch:
        for name in options.names or NAMES:
            try:
                reference = _reference(name, options, Path(scratch))
            except FileNotFoundError as error:
                print(f"{name:12} is left out: there is no {error.filename}")
                continue
            spent.append(_measure(reference, options, encoder, _prepared(reference, Path(scratch))))
    _close_models()
    if not spent:
        return 1
    speech = sum(one.speech for one in spent)
    seconds = [sum(seconds) for seconds in zip(*(one.seconds for one in spent), strict=True)]
    rows = zip(("average linkage of the whole", "dropscribe, in stretches"), seconds, strict=True)
    print_rates("seconds of speech", [Row(f"embedding and {name}", round(speech), took) for name, took in rows])
    print(f"embedding and linking takes {seconds[1] / speech:.4f} CPU seconds for a second of speech")
    return _long(options.hours)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.speakers", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="RECORDING", help=f"which of {', '.join(NAMES)}; all of them unless given")
    add("--stretches", action="store_true", help="cut the stretches of embedding like the windows")
    add("--no-words", action="store_true", help="leave out the models, and with them the words")
    add("--audio", type=Path, default=AUDIO, help="folder of talk3.mp3, talk3.json, phone2.wav, phone2.rttm")
    add("--minutes", type=float, default=5, help="length of the tiny checkpoint's conversation")
    add("--hours", type=float, default=10, help="length of the synthetic recording; 0 leaves it out")
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no recording {', '.join(sorted(unknown))}; one of {', '.join(NAMES)}")
    return options


def _reference(name: str, options: argparse.Namespace, scratch: Path) -> Reference:
    if name == "talk3":
        return speaker_references.talk3(options.audio)
    if name == "phone2":
        return speaker_references.phone2(options.audio)
    return speaker_references.tiny(scratch, options.minutes) if name == "tiny" else speaker_references.sample(name)


def _long(hours: float) -> int:
    if not hours:
        return 0
    print(flush=True)
    return subprocess.run([sys.executable, "-m", "bench.speakers_long", str(hours)], check=False).returncode


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of speech, and the CPU seconds for it: the rival's and dropscribe's."""

    speech: float
    seconds: tuple[float, float]


def _measure(reference: Reference, options: argparse.Namespace, encoder: SpeakerEncoder, ready: Prepared) -> Spent:
    """Print a line for each cut and one for the rival; the CPU seconds are those of the last cut."""
    model = None if options.no_words or not reference.words else reference.engine
    rival, rivals = _timed(lambda: _rival(_embedded(ready, WHOLE, encoder)))
    for name, cut in reference.cuts:
        parts = _windows(reference, ready, cut, model)
        stretch = cut if options.stretches else STRETCH_SECONDS
        voices, ours = _timed(partial(_told, parts, ready, stretch, encoder))
        print(_line(reference, name, _merged(parts, ready, voices), voices), flush=True)
    if any(_labelled(part) for part in parts):
        voices, _ = diarize(_embedded(ready, STRETCH_SECONDS, encoder))
        print(_line(reference, "voices only", _merged(parts, ready, voices), voices), flush=True)
    print(_line(reference, "rival", _merged(parts, ready, rival), rival), flush=True)
    return Spent(sum(span.duration for span in ready.speech), (rivals, ours))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What comes of it, and the CPU seconds that it took."""
    began = time.process_time()
    return work(), time.process_time() - began


# dropscribe's steps


def _prepared(reference: Reference, scratch: Path) -> Prepared:
    audio = scratch / f"{reference.name}.spooled"
    decoded = decode.decode(reference.path, audio, LIMITS, label=reference.name)
    return Prepared(audio, decoded.duration, vad.detect(audio, vad.load("silero")).spans)


def _embedded(ready: Prepared, stretch: float, encoder: SpeakerEncoder) -> list[SpeakerEmbeddings]:
    spans = [chunk.keep for chunk in chunking.plan(ready.speech, ready.duration, stretch)]
    return [embed(ready.audio, ready.speech, span, encoder, lambda: None) for span in spans]


def _windows(reference: Reference, ready: Prepared, cut: float, model: str | None) -> list[ChunkOutcome]:
    """The model's transcript of each window; without a model there is none."""
    overlap = load_settings({}).overlap_seconds
    planned = chunking.plan(ready.speech, ready.duration, cut, overlap=overlap)
    windows = [(Span(chunk.start, chunk.end), chunk.keep) for chunk in planned]
    return [
        ChunkOutcome(window, keep, _transcript(reference.path, ready.audio, window, model) if model else ())
        for window, keep in windows
    ]


def _told(parts: Sequence[ChunkOutcome], ready: Prepared, stretch: float, encoder: SpeakerEncoder) -> Voices:
    heard = _embedded(ready, stretch, encoder)
    return finish.told_apart(parts, heard, SpeakerEmbeddings.joined(heard), None)[0]


def _labelled(part: ChunkOutcome) -> bool:
    return any(segment.speaker is not None for segment in part.segments)


def _merged(parts: Sequence[ChunkOutcome], ready: Prepared, voices: Voices) -> tuple[Segment, ...]:
    return merge_chunks(parts, ready.speech, voices).segments


# Transcripts of windows, which are kept


def _transcript(recording: Path, audio: Path, window: Span, engine: str) -> tuple[Segment, ...]:
    """In the recording's time."""
    told = json.dumps([engine, SETTINGS[engine], hashlib.sha256(recording.read_bytes()).hexdigest(), asdict(window)])
    kept = KEPT / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        found = _model(engine).transcribe(spooled_audio.read(audio, window), TranscribeRequest()).segments
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps([asdict(segment.later(window.start)) for segment in found]), encoding="utf-8")
    return tuple(_segment(**one) for one in json.loads(kept.read_text(encoding="utf-8")))


def _segment(kind: str, words: list[dict[str, Any]], **other: Any) -> Segment:
    return Segment(kind=SegmentKind(kind), words=tuple(Word(**word) for word in words), **other)


def _model(engine: str) -> Transcriber:
    """Loaded when it is first needed."""
    if engine not in LOADED:
        settings = {f"DROPSCRIBE_{name}": value for name, value in SETTINGS[engine].items()}
        LOADED[engine] = registry.create(engine, load_settings(settings))
    return LOADED[engine]


def _close_models() -> None:
    """Without that their threads would keep the process alive."""
    for model in LOADED.values():
        model.close()


# The rival


def _rival(heard: Sequence[SpeakerEmbeddings]) -> Voices:
    whole = SpeakerEmbeddings.joined(heard)
    return Voices(turns=tuple(turns_of(whole, average_linkage(whole.vectors))))


def average_linkage(vectors: Vectors, distance: float = RIVAL) -> Labels:
    """Clusters of vectors: the two that are nearest on average are joined, as long as they are within `distance`."""
    likeness = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(likeness, -np.inf)
    group, sizes = np.arange(len(vectors)), np.ones(len(vectors))
    while likeness.max(initial=-np.inf) >= 1 - distance:
        one, other = np.unravel_index(int(likeness.argmax()), likeness.shape)
        joined = (sizes[one] * likeness[one] + sizes[other] * likeness[other]) / (sizes[one] + sizes[other])
        joined[one] = -np.inf
        likeness[one] = likeness[:, one] = joined
        likeness[other] = likeness[:, other] = -np.inf
        sizes[one] += sizes[other]
        group[group == other] = one
    numbers: Labels = np.unique(group, return_inverse=True)[1]
    return numbers


# Scores


def _line(reference: Reference, cut: str, segments: Sequence[Segment], voices: Voices) -> str:
    """The error rates are those of the turns by voice, without and with a collar, and of the transcript's segments."""
    said = tuple(_turns(segments))
    turns = voices.turns or said
    rates = ["", "", ""]
    if reference.turns:
        measured = (turns, 0.0), (turns, COLLAR), *([(said, 0.0)] if said else [])
        for at, (told, collar) in enumerate(measured):
            rates[at] = f"{diarization_error(reference.turns, told, collar=collar).rate:.1%}"
    speakers = f"{len({turn.speaker for turn in turns})} of {reference.speakers}"
    words = f"{words_right(reference.words, segments):.1%}" if said and reference.words else ""
    return f"{reference.name:12}{cut:>12}{speakers:>10}{rates[0]:>9}{rates[1]:>9}{rates[2]:>12}{words:>13}"


def _turns(segments: Sequence[Segment]) -> Iterator[SpeakerTurn]:
    for segment in segments:
        if segment.kind is SegmentKind.SPEECH and segment.speaker is not None:
            yield SpeakerTurn(Span(segment.start, segment.end), segment.speaker)


def words_right(reference: Said, segments: Sequence[Segment]) -> float:
    """The part of the transcript's words, those aside that nobody said, that have the right speaker.

    That is 1 less the word diarization error rate of El Shafey et al., Joint Speech Recognition and Speaker Diarization
    via Sequence Transduction (2019): words are aligned with the reference, and speakers paired one to one so that most
    words are right. Words without a speaker are wrong.
    """
    told = [(word, segment.speaker) for segment in segments for word in normalize(segment.text).split()]
    aligned = jiwer.process_words(" ".join(word for word, _ in reference), " ".join(word for word, _ in told))
    pairs = [
        (reference[chunk.ref_start_idx + at][1], told[chunk.hyp_start_idx + at][1])
        for chunk in aligned.alignments[0]
        if chunk.type in ("equal", "substitute")
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    speakers, numbers = sorted({one for one, _ in pairs}), sorted({other for _, other in pairs if other is not None})
    table = np.array([[pairs.count((one, other)) for other in numbers] for one in speakers], np.float64)
    return most_in_common(table) / len(pairs)


if __name__ == "__main__":
    raise SystemExit(main())

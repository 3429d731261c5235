"""A transcriber without a model: it says what its script says, as slowly or as wrongly as asked.

Everything around the model can be tried with it in milliseconds: progress, cancellation, gates, crashes. The
script is the setting `script` of this engine: JSON text, or `@` and the path of a JSON file, whose keys are the
fields of `Script`. The same audio with the same script always gives the same segments.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelError, ModelFatalError, SettingsError
from dropscribe.core.settings import Settings
from dropscribe.core.settings_errors import alike, guess
from dropscribe.core.types import EngineInfo, FinishReason, RawTranscript, Segment
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.gpu.placement import ANYWHERE, Placement
from dropscribe.models.scripted.settings import ScriptedSettings
from dropscribe.models.scripted.spec import SPEC

POLL_SECONDS = 0.05  # between two looks at the clock while pretending to work
WORDS_A_SEGMENT = 8  # in 5 s: 96 words a minute, slow speech
LOUD = 1e-2  # of full scale; the decoder sets speech to 0.06
PAUSE_SECONDS = 0.4
SYLLABLE_PAUSE_SECONDS = 0.05
PITCH_STEP = 40.0  # Hz; voices nearer than that are one
MOUTHFUL = 1 << 24  # bytes
REPEATS = 40  # of a phrase in a loop; 12 in a row already count as one
WORDS = (
    "amber anchor apple autumn basin beacon birch bridge candle canyon cedar circle clover copper cotton "
    "creek dawn desert drift eagle ember engine fable feather field forest garden ginger glacier granite "
    "harbor hazel island ivory jacket juniper kernel kettle ladder lantern linen maple marble meadow mirror "
    "mountain north oak ocean orchard paper pebble pepper planet quiet raven river saddle silver summer "
    "thunder timber valley velvet willow"
).split()

Behaviour = Literal["speak", "silent", "loop", "truncate", "error", "fatal", "exit", "segfault", "hang", "devour"]
NotNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Script:
    """What to say and how to behave.

    What is said: `text` for every segment (empty: words chosen by the audio's bytes), one segment for each
    `segment_seconds`, by `speakers` voices in turn (0: it tells nobody apart). With `hears` a segment is what lies
    between two pauses, and its voice is its pitch: so the same sounds are read alike in whatever window they
    come. `confidence` is that of every segment.

    How long a chunk takes: `seconds`, and its own length divided by `realtime_factor` (0: no time).

    `behave` is what happens after that time: `silent` hears nothing; `loop` ends in a phrase said over and
    over; `truncate` stops half-way; `error` and `fatal` raise ModelError and ModelFatalError; `exit` and
    `segfault` end the process at once; `hang` waits until it is cancelled; `devour` takes memory until there is none
    left, where the process has a limit (`ulimit -v`).

    A behaviour other than `speak` can be limited: to requests whose context contains `when_context`, to
    chunks of more than `when_longer_than` seconds, to the first `first_n` such chunks of a process (0: all),
    and to a single one among all processes, by `once`, the path of a file that marks that it happened.
    """

    text: str = ""
    segment_seconds: Annotated[float, Field(gt=0)] = 5.0
    speakers: Annotated[int, Field(ge=0)] = 2
    hears: bool = False
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    seconds: NotNegative = 0.0
    realtime_factor: NotNegative = 0.0
    behave: Behaviour = "speak"
    when_context: str = ""
    when_longer_than: NotNegative = 0.0
    first_n: Annotated[int, Field(ge=0)] = 0
    once: str = ""


def parse(script: str) -> Script:
    """Read a script from JSON text, or from the file that is named after an `@`; empty text is the default.

    Raises SettingsError for a file that cannot be read, text that is not a JSON object, an unknown key or a
    value that does not fit.
    """
    values = _read_json(script) if script.strip() else {}
    known = [*map(attrgetter("name"), fields(Script))]
    if unknown := [key for key in values if key not in known]:
        hint = guess(alike(unknown[0], known), f"the keys are {', '.join(known)}")
        raise SettingsError(f"unknown key {unknown[0]} in the script", remedy=hint)
    try:
        return TypeAdapter(Script).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise SettingsError(f"{key} in the script: {first['msg'].lower()}", remedy="correct it") from error


def _read_json(script: str) -> dict[str, object]:
    """The script as a JSON object. Raises SettingsError."""
    with explained((OSError, ValueError), SettingsError, f"cannot read the script {script[:80]!r}", remedy="fix it"):
        text = Path(script[1:]).expanduser().read_text(encoding="utf-8") if script.startswith("@") else script
        values = json.loads(text)
    if not isinstance(values, dict):
        raise SettingsError(f"the script {script[:80]!r} is not a JSON object", remedy="write it as {...}")
    return values


class Scripted:
    """A Transcriber that follows a `Script`; safe for as many threads as `model_slots`."""

    def __init__(self, script: Script, *, slots: int = 1, model: str = "") -> None:
        self.info = EngineInfo(SPEC.name, model or SPEC.name, "none", slots, notice=SPEC.notice)
        self._script = script
        self._misbehaved = 0
        self._lock = threading.Lock()

    @classmethod
    def load(cls, settings: Settings, _placement: Placement = ANYWHERE) -> Scripted:
        """Read the script; any checkpoint is one. Raises SettingsError when it is wrong."""
        script = parse(settings.of(ScriptedSettings).script)
        return cls(script, slots=settings.fixed_slots, model=settings.model)

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """Take the time, then behave as the script says. Raises ModelError or ModelFatalError if the script says so."""
        started = time.monotonic()
        duration = audio.size / SAMPLE_RATE
        finished = self._pass_time(duration, request)
        if not finished:
            return RawTranscript((), FinishReason.CANCELLED)
        behaviour = self._script.behave if self._misbehaves(duration, request) else "speak"
        if behaviour == "hang":
            request.cancel.wait()
            return RawTranscript((), FinishReason.CANCELLED)
        segments = (_hear if self._script.hears else _speak)(audio, self._script)
        answer = _answer(behaviour, tuple(replace(segment, confidence=self._script.confidence) for segment in segments))
        request.progress(duration)
        return replace(answer, timings={"scripted": time.monotonic() - started})

    def close(self) -> None:
        """Nothing is held."""

    def _pass_time(self, duration: float, request: TranscribeRequest) -> bool:
        """Take as long as the script says, reporting progress; False if the request was cancelled meanwhile."""
        factor = self._script.realtime_factor
        total = self._script.seconds + (duration / factor if factor else 0.0)
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < total:
            request.progress(duration * elapsed / total)
            if request.cancel.wait(min(POLL_SECONDS, total - elapsed)):
                break
        return not request.cancel.is_set()

    def _misbehaves(self, duration: float, request: TranscribeRequest) -> bool:
        """Is this one of the requests on which the script has the model misbehave?"""
        script = self._script
        if script.behave == "speak" or script.when_context not in request.context:
            return False
        if duration <= script.when_longer_than:
            return False
        with self._lock:
            if script.first_n and self._misbehaved >= script.first_n:
                return False
            if script.once and not _is_first(Path(script.once)):
                return False
            self._misbehaved += 1
        return True


def _is_first(marker: Path) -> bool:
    """Is this the first of all processes to come here? A file remembers it."""
    with suppress(FileExistsError):
        marker.touch(exist_ok=False)
        return True
    return False


def _speak(audio: Audio, script: Script) -> tuple[Segment, ...]:
    """Segments of equal length that fill the audio, whatever is in it."""
    length = max(1, round(script.segment_seconds * SAMPLE_RATE))
    return tuple(
        Segment(
            start=start / SAMPLE_RATE,
            end=min(start + length, audio.size) / SAMPLE_RATE,
            text=script.text or _words_of(audio[start : start + length]),
            speaker=index % script.speakers if script.speakers else None,
        )
        for index, start in enumerate(range(0, audio.size, length))
    )


def _hear(audio: Audio, script: Script) -> tuple[Segment, ...]:
    """One segment between pauses, one word a syllable; voices are numbered by first appearance."""
    segments, voices = [], list[int]()
    for start, end in _stretches(audio, PAUSE_SECONDS):
        heard = audio[start:end]
        pitch = round(_pitch(heard) / PITCH_STEP)
        if pitch not in voices:
            voices.append(pitch)
        syllables = (heard[first:last] for first, last in _stretches(heard, SYLLABLE_PAUSE_SECONDS))
        text = script.text or " ".join(map(_words_of, syllables, repeat(1)))
        speaker = voices.index(pitch) if script.speakers else None
        segments.append(Segment(start / SAMPLE_RATE, end / SAMPLE_RATE, text, speaker))
    return tuple(segments)


def _stretches(audio: Audio, pause: float) -> list[tuple[int, int]]:
    """Where it is loud, in samples; silences shorter than `pause` seconds are within."""
    loud = np.flatnonzero(np.abs(audio) > LOUD)
    breaks = np.flatnonzero(np.diff(loud) > pause * SAMPLE_RATE) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(loud, breaks) if part.size]


def _pitch(samples: Audio) -> float:
    """The strongest frequency, in Hz."""
    size = 1 << samples.size.bit_length()  # of a length with large factors, the transform takes ten times as long
    spectrum = np.abs(np.fft.rfft(samples, size))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / size


def _words_of(audio: Audio, number: int = WORDS_A_SEGMENT) -> str:
    """Words that depend on the audio alone, so that the same audio always gives the same text."""
    digest = hashlib.blake2b(audio.tobytes(), digest_size=number).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in digest)


def _answer(behaviour: Behaviour, segments: tuple[Segment, ...]) -> RawTranscript:
    """The transcript as a model of that behaviour would give it."""
    if behaviour == "devour":
        _devour()
    if behaviour in {"error", "fatal", "exit", "segfault"}:
        _fail(behaviour)
    if behaviour == "silent":
        return RawTranscript(())
    if behaviour == "loop":
        stuck = tuple(replace(segment, text=" ".join([segment.text] * REPEATS)) for segment in segments[-1:])
        return RawTranscript(segments[:-1] + stuck, FinishReason.LOOP)
    if behaviour == "truncate":
        return RawTranscript(segments[: len(segments) // 2], FinishReason.TRUNCATED)
    return RawTranscript(segments)


def _devour() -> NoReturn:
    """Raises MemoryError; ModelError where this machine's memory would be all of it."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        raise ModelError(
            "the script makes the model take all memory, but there is no limit", remedy="set one (ulimit -v)"
        )
    taken = []
    while True:
        taken.append(bytes(MOUTHFUL))


def _fail(behaviour: Behaviour) -> NoReturn:
    """End the transcription, or the process, in the way that the script says."""
    if behaviour == "error":
        raise ModelError("the script makes the model fail on this chunk", remedy="change the script")
    if behaviour == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if behaviour == "exit":
        os._exit(1)  # no clean-up of any kind, as if the kernel had killed it
    raise ModelFatalError("the script makes the model be beyond repair", remedy="change the script")

"""Any Whisper resident in memory: audio in, words with times and the language out.

A chunk is read window by window of 30 s, each beginning where the last utterance of the one before ended, as section
4.5 of the paper has it (Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022): five beams;
a higher temperature where the answer repeats itself or is improbable; no text where there is probably no speech.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.error_translation import explained, translated
from dropscribe.core.errors import ModelDoesNotFitError, ModelUnavailableError, SettingsError
from dropscribe.core.hotwords import context_text
from dropscribe.core.settings import Settings
from dropscribe.core.settings_errors import guess
from dropscribe.core.types import EngineInfo, FinishReason, RawTranscript, Segment, SpeechTask, Word
from dropscribe.models import engine_errors
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.context import check_context
from dropscribe.models.gpu import cublas, lock, memory
from dropscribe.models.gpu.placement import ANYWHERE, Placement
from dropscribe.models.resampling import resample
from dropscribe.models.whisper import checkpoint, memory_budget
from dropscribe.models.whisper.spec import SPEC, caveat

log = logging.getLogger(__name__)

MAX_CHUNK = 600.0  # s; what the planner aims at anyway, and as much is read again when a worker is lost
POLL_SECONDS = 0.2  # between two looks at whether it was cancelled
BEAMS = 5
SAMPLES = 1  # at temperatures above 0; five take twice as long over bad audio, and its words get no better
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MAX_REPETITIVE = 2.4  # ratio of an answer's size to its compressed size
MIN_LOG_PROBABILITY = -1.0  # of a token on average
SILENT = 0.6  # probability that there is no speech, above which an improbable output counts as no speech
DOUBTFUL_SILENCE = 2.0  # s of silence beside improbable words: then those are invented
SURE_LANGUAGE = 0.5  # probability with which a window settles the language
LANGUAGE_WINDOWS = 4  # looked at until one does
NO_TRANSLATION = "turbo"  # is in the names of checkpoints that were trained on transcripts alone
WARM_TOKENS = 8  # of the answer that is computed before a chunk comes
MAX_CONTEXT = 223  # tokens of a prompt beside the mark that begins it: half of what the decoder takes
COMPUTE_TYPES = {  # by device and precision
    "cpu": {"auto": "int8", "int8": "int8", "fp32": "float32"},
    "cuda": memory_budget.GPU_TYPES,
}
COMPUTING_ERRORS = (RuntimeError, ValueError, MemoryError)  # what CTranslate2 and faster-whisper raise
PRECISIONS = {"int8": "int8", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "int8_float16": "int8"}


@dataclass
class _Reading:
    """What one chunk has come to: a thread of the pool adds to it, the caller's looks at it."""

    duration: float
    language: str = ""
    tokens: int = 0
    looped: bool = False
    segments: list[Segment] = field(default_factory=list)

    def add(self, heard: Any) -> None:
        """Take in a segment; one that begins after the end of the audio is made up."""
        self.tokens += len(heard.tokens)
        self.looped |= heard.compression_ratio > MAX_REPETITIVE  # at every temperature
        if heard.start < self.duration:
            self.segments.append(segment_of(heard, self.duration))

    def told(self, ended: FinishReason, began: float) -> RawTranscript:
        """What was transcribed so far, with times and confidence."""
        spent = {"whisper": time.monotonic() - began}
        segments = tuple(self.segments)
        return RawTranscript(segments, ended, output_tokens=self.tokens, timings=spent, language=self.language)


class Whisper:
    """A Transcriber; safe for as many threads as `info.slots`."""

    def __init__(self, model: WhisperModel, info: EngineInfo, settings: Settings) -> None:
        """Serve a loaded model. Raises SettingsError for a language that it does not know, or a task."""
        self.info = info
        self.model = model
        self._settings = settings
        # What CTranslate2 computes cannot be stopped. So it has threads of its own: who cancels a chunk leaves them the
        # window that they are at.
        self._pool = ThreadPoolExecutor(info.slots, thread_name_prefix="whisper")
        self._check(settings.language, settings.task)

    @classmethod
    def load(cls, settings: Settings, placement: Placement = ANYWHERE) -> Whisper:
        """Find, convert if need be, load and warm up. Raises ModelUnavailableError, SettingsError or UsageError."""
        logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # it reports every chunk
        device = _device()
        kind = compute_type(settings.precision, device)
        folder, name = checkpoint.find(settings)
        readable = checkpoint.readable(folder, name, settings)
        if device == "cpu":
            return cls._load(readable, name, settings, device, kind)
        with lock.turn(placement, settings.home, memory.first_gpu()):
            kind = _kind_that_fits(kind, checkpoint.half_size(readable), settings)
            _require_memory(name, checkpoint.half_size(readable), kind, settings)
            return cls._load(readable, name, settings, device, kind)

    @classmethod
    def _load(cls, folder: Path, name: str, settings: Settings, device: str, kind: str) -> Whisper:
        """The model on this device, warmed up. Raises ModelUnavailableError."""
        began, slots = time.monotonic(), settings.fixed_slots
        model = _open(str(folder), name, device, kind, slots)
        spent = round(time.monotonic() - began, 1)
        info = EngineInfo(
            engine=SPEC.name,
            model=name,
            precision=PRECISIONS[kind],
            slots=slots,
            longest_chunk=MAX_CHUNK,
            load_seconds=spent,
            notice=caveat(settings.model, device),
        )
        log.info("loaded %s in %s on %s in %.1f s", name, info.precision, device, spent)
        engine = cls(model, info, settings)
        engine._warm_up()
        return engine

    def _warm_up(self) -> None:
        """Compute a little, as the first computation loads libraries. At length silence is answered with a loop."""
        second = np.zeros(self.model.feature_extractor.sampling_rate, np.float32)
        language = self._settings.language or "en"
        with translated(COMPUTING_ERRORS, into=engine_errors.translate):
            heard, _ = self.model.transcribe(
                second, language=language, beam_size=BEAMS, temperature=0.0, max_new_tokens=WARM_TOKENS
            )
            deque(heard, maxlen=0)

    def _check(self, language: str, task: str) -> None:
        """Raise SettingsError for a language that the model does not know, or a translation that it cannot make."""
        check_language(language, self.model.supported_languages)
        check_task(task, self.info.model, is_multilingual=self.model.model.is_multilingual)

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """See `Transcriber`. Raises SettingsError for an unknown language, a task or too long a context."""
        began = time.monotonic()
        self._check(request.language, request.task)
        context = context_text(request.context)
        check_context(
            context, lambda text: len(self.model.hf_tokenizer.encode(text, add_special_tokens=False)), MAX_CONTEXT
        )
        reading = _Reading(audio.size / SAMPLE_RATE)
        if not audio.size:
            return reading.told(FinishReason.COMPLETE, began)
        task = self._pool.submit(self._read, audio, context, request, reading)
        if not _watch(task, request, reading):
            return reading.told(FinishReason.CANCELLED, began)
        with translated(COMPUTING_ERRORS, into=engine_errors.translate):
            task.result()
        request.progress(reading.duration)
        return reading.told(FinishReason.LOOP if reading.looped else FinishReason.COMPLETE, began)

    def close(self) -> None:
        """Wait for what is being computed, and give the memory back."""
        self._pool.shutdown(cancel_futures=True)
        self.model.model.unload_model()

    def _read(self, audio: Audio, context: str, request: TranscribeRequest, reading: _Reading) -> None:
        """Transcribe window by window into `reading`, until all is read or the request is cancelled."""
        if request.cancel.is_set():
            return
        heard, found = self.model.transcribe(
            resample(audio, self.model.feature_extractor.sampling_rate),
            language=request.language or None,
            task=request.task,
            language_detection_threshold=SURE_LANGUAGE,
            language_detection_segments=LANGUAGE_WINDOWS,
            beam_size=BEAMS,
            best_of=SAMPLES,
            temperature=[self._settings.temperature] if self._settings.temperature else list(TEMPERATURES),
            repetition_penalty=self._settings.repetition_penalty,
            compression_ratio_threshold=MAX_REPETITIVE,
            log_prob_threshold=MIN_LOG_PROBABILITY,
            no_speech_threshold=SILENT,
            hallucination_silence_threshold=DOUBTFUL_SILENCE,
            condition_on_previous_text=False,  # one window's loop would be the next one's example
            hotwords=context or None,  # unlike an initial prompt, given for every window
            word_timestamps=True,
        )
        reading.language = found.language
        for segment in heard:  # each step transcribes a window, if the last one is reported
            if request.cancel.is_set():
                return
            reading.add(segment)


def _watch(task: Future[None], request: TranscribeRequest, reading: _Reading) -> bool:
    """Tell the progress until the task is done; False when it was cancelled before."""
    while not wait([task], POLL_SECONDS).done:
        if request.cancel.is_set():
            task.cancel()  # if it has not begun
            return False
        if reading.segments:
            request.progress(reading.segments[-1].end)
    return not request.cancel.is_set()


def segment_of(heard: Any, duration: float) -> Segment:
    """A segment of faster-whisper's as ours, which reaches as far as its words, and no further than the chunk."""
    words = tuple(
        Word(_within(word.start, duration), _within(word.end, duration), word.word.strip())
        for word in heard.words or ()
        if word.word.strip()
    )
    return Segment(
        start=min([_within(heard.start, duration), *map(attrgetter("start"), words[:1])]),
        end=max([_within(heard.end, duration), *map(attrgetter("end"), words[-1:])]),
        text=heard.text.strip(),
        confidence=round(math.exp(min(0.0, heard.avg_logprob)), 3),
        words=words,
    )


def _within(moment: float, duration: float) -> float:
    """A moment in seconds, not after the end.

    >>> _within(1.239, 5.0), _within(9.0, 5.0)
    (1.24, 5.0)
    """
    return min(round(float(moment), 2), duration)


def _device() -> str:
    """`cuda` where CTranslate2 can compute on a GPU, else `cpu`."""
    if not ctranslate2.get_cuda_device_count():
        return "cpu"
    if cublas.is_found():
        return "cuda"
    log.warning("the GPU is not used: CTranslate2 needs %s, which is not found; install cuBLAS 12", cublas.LIBRARY)
    return "cpu"


def _kind_that_fits(kind: str, weights: int, settings: Settings) -> str:
    """int8 in the place of 16 bits, where `auto` chose these and our part of the GPU is small for them."""
    room, int8 = memory.plannable(settings.gpu_share), memory_budget.GPU_TYPES["int8"]
    if settings.precision != "auto" or room is None or int8 not in ctranslate2.get_supported_compute_types("cuda"):
        return kind
    return memory_budget.auto_kind(weights, settings.model_slots or 1, room) if kind == "float16" else kind


def _require_memory(name: str, weights: int, kind: str, settings: Settings) -> None:
    """Raise ModelDoesNotFitError where weights of that size (bytes in 16 bits) do not fit our part of the GPU."""
    need, allowed = memory_budget.taken(weights, kind, settings.fixed_slots), memory.plannable(settings.gpu_share)
    if allowed is not None and need > allowed:
        raise ModelDoesNotFitError(
            f"{name} does not fit: in {kind} it takes about {need / 1e9:.1f} GB of the GPU, and this worker may take "
            f"{allowed / 1e9:.1f} GB",
            remedy=f"free the card (nvidia-smi shows which process uses it), raise DROPSCRIBE_GPU_SHARE (now "
            f"{settings.gpu_share:g}), lower DROPSCRIBE_MODEL_SLOTS, or set DROPSCRIBE_PRECISION=int8 or a smaller "
            "DROPSCRIBE_MODEL",
        )


def compute_type(precision: str, device: str) -> str:
    """CTranslate2's name for a precision on `cpu` or `cuda`. Raises ModelUnavailableError where there is none."""
    offered = COMPUTE_TYPES[device]
    if precision not in offered:
        place = "a CPU" if device == "cpu" else "a GPU"
        raise ModelUnavailableError(
            f"whisper has no {precision} on {place}", remedy=f"set DROPSCRIBE_PRECISION to one of {', '.join(offered)}"
        )
    kind = offered[precision]
    supported = ctranslate2.get_supported_compute_types(device)
    if precision == "auto" and kind not in supported:
        return "float32"
    if kind not in supported:
        raise ModelUnavailableError(
            f"this machine's {device} cannot compute in {precision}", remedy="set DROPSCRIBE_PRECISION=auto"
        )
    return kind


def check_task(task: str, name: str, *, is_multilingual: bool) -> None:
    """Raise SettingsError where the checkpoint cannot translate: `turbo` learnt none, and says what it hears."""
    if task == SpeechTask.TRANSLATE and (NO_TRANSLATION in name or not is_multilingual):
        raise SettingsError(
            f"{name} cannot translate (DROPSCRIBE_TASK)", remedy="take another checkpoint, such as large-v3 or small"
        )


def check_language(language: str, known: Iterable[str]) -> None:
    """Raises SettingsError for a code that is not among those known."""
    codes = sorted(known)
    if not language or language in codes:
        return
    near = difflib.get_close_matches(language, codes, n=3, cutoff=0.5) if len(codes) > 1 else []
    problem = f"the model does not know the language {language} (DROPSCRIBE_LANGUAGE)"
    raise SettingsError(problem, remedy=guess(near, f"it knows {', '.join(codes)}"))


def _open(folder: str, name: str, device: str, kind: str, slots: int) -> WhisperModel:
    """The model on this device, with so many slots. Raises ModelUnavailableError."""
    cores = len(os.sched_getaffinity(0))
    with explained(
        (RuntimeError, ValueError, OSError),
        ModelUnavailableError,
        f"{name} cannot be loaded in {kind} on {device}",
        remedy="check it with `dropscribe models show`",
    ):
        return WhisperModel(
            folder,
            device,
            compute_type=kind,
            cpu_threads=max(1, cores // slots),
            num_workers=slots,
            local_files_only=True,
        )

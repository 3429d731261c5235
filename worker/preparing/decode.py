"""Decodes a recording to the spool's FLAC, in a child process that has limits and is thrown away afterwards.

What comes out is 24 kHz, 16 bit, at -25 dBFS RMS for the whole file: mono, or each channel by itself at its own level.
`preparing.media` says how.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import subprocess
import threading
import time
import wave
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dropscribe.core import access, child_process
from dropscribe.core import zygote as zygotes
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.error_translation import explained, writing
from dropscribe.core.errors import (
    DecodeLimitError,
    DecoderKilledError,
    DropscribeError,
    NoAudioError,
    NoRoomError,
    NotMediaError,
    PartsDifferError,
    SandboxError,
    SpoolError,
)
from dropscribe.core.safe_text import printable
from dropscribe.core.sandbox import TRY
from dropscribe.core.types import SourcePart, Span, Track
from dropscribe.core.zygote import ForkedChild, Zygote
from dropscribe.worker.preparing.child_output import ChildOutput

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from dropscribe.core.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between two looks at `stop`; the end of the child is noticed at once
FLOAT_BYTES = 4  # a sample of the unscaled pass
MAX_SEPARATE = 8  # channels that are transcribed one by one: what FLAC holds
SEPARATE_BYTES = 2 * MAX_SEPARATE  # a sample of all of them in the spool
KILL_SECONDS = 10.0  # a process that outlives SIGKILL for so long hangs in the kernel
MAX_REASON = 1000  # characters of what the child says went wrong
CPU_CLOCK = 2  # of a whole process, in the lower three bits of a clock's number: clock_getcpuclockid(3)
TICK = 10_000_000  # ns; a process that wakes up only to wait again takes some 10,000 each time
BEGUN = "begun\n"  # what the child writes before it opens the recording: from now on it may obey a stranger
AGES = 10 * 366 * 86_400  # s; no setting means more, and the kernel counts CPU time in 64 bits of nanoseconds

# What the child may report by name.
REPORTED = {
    kind.__name__: kind
    for kind in (
        NotMediaError,
        NoAudioError,
        DecodeLimitError,
        PartsDifferError,
        NoRoomError,
        SpoolError,
        SandboxError,
    )
}

CHILD = "worker.preparing.decode_child"
Child = subprocess.Popen[bytes] | ForkedChild

CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})

# Threads of a BLAS reserve address space for every core, which RLIMIT_AS counts.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one recording may take: its length and CPU time in seconds, address space in MiB.

    `stall_seconds` is for how long the decoder may stand still, on a disk that does not answer. Python, PyAV
    and numpy take 220 MiB of that space by themselves (56 MB are in use). `sandbox` is the setting of that name.
    """

    max_seconds: float = 24 * 3600
    memory_mb: int = 1024
    cpu_seconds: int = 7200
    stall_seconds: float = 300
    sandbox: str = TRY

    @property
    def wall_seconds(self) -> float:
        """Time on the clock: reading and writing may take as long as computing, and Python needs a start."""
        return 2.0 * min(self.cpu_seconds, AGES) + 60

    @property
    def file_bytes(self) -> int:
        """Size of the largest file written: the unscaled pass, float32, and 1 MiB for headers."""
        return int(min(self.max_seconds, AGES) * SAMPLE_RATE) * FLOAT_BYTES + (1 << 20)


def limits(settings: Settings) -> DecodeLimits:
    """What the settings allow one recording."""
    return DecodeLimits(
        max_seconds=settings.decode_hours * 3600,
        memory_mb=settings.decode_memory_mb,
        cpu_seconds=settings.decode_cpu_seconds,
        sandbox=settings.sandbox,
    )


@dataclass(frozen=True, slots=True)
class Listening:
    """What of a recording is heard: the settings `channels` and `tracks`."""

    channels: str = "mix"
    tracks: str = "speech"

    @property
    def is_separate(self) -> bool:
        """Is each channel to be transcribed by itself?"""
        return self.channels == "separate"


def listening(settings: Settings) -> Listening:
    """What the settings say of it."""
    return Listening(settings.channels, settings.tracks)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was decoded. `duration` and `silence_inserted` are seconds, the levels dB.

    `rms_dbfs` is the level before `gain_db` was applied, -120 at the least. `silent` means that no sample
    reaches one step of 16 bits. `truncated`: the file breaks off before its end, and is `claimed_duration` long by its
    header (0: that does not say). `decode_errors` counts the packets that were skipped. `silence_inserted` stands
    where the recording has holes. For `inverted_seconds` the channels cancel each other out, and one of them was taken.
    The header claims only `header_seconds` of sound, or 0 where that is right. `unread_bytes` lie behind the sound, and
    are neither sound nor described. `codec`, `channels`, `sample_rate` and levels are of the first track that was
    heard, `tracks` are all. `separate_channels` are the numbers, from 1, of the channels that the spool holds one by
    one; none where they were mixed. `remarks` are for readers of the transcript. What is `damaged` could not be read,
    though the file goes on behind it. `parts` are the files of a recording in parts.
    """

    duration: float
    format: str
    codec: str
    channels: int
    sample_rate: int
    rms_dbfs: float
    gain_db: float
    silent: bool
    truncated: bool
    claimed_duration: float
    decode_errors: int
    silence_inserted: float
    inverted_seconds: float
    header_seconds: float
    unread_bytes: int
    tracks: tuple[Track, ...] = ()
    separate_channels: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    damaged: tuple[Span, ...] = ()
    parts: tuple[SourcePart, ...] = ()


@dataclass(frozen=True, slots=True)
class PartToDecode:
    """One file of a recording in parts: the `name` of the original, its `size` in bytes, and a copy to read.

    `source` is empty where there is none, and `problem` says why.
    """

    name: str
    size: int
    source: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DecodeRefusal:
    """Why a recording was not decoded: the name of a class in `REPORTED`, and the reason in words."""

    error: Literal[
        "NotMediaError",
        "NoAudioError",
        "DecodeLimitError",
        "PartsDifferError",
        "NoRoomError",
        "SpoolError",
        "SandboxError",
    ]
    reason: str


class BrokenDecoderError(NotMediaError):
    """A decoder ended abnormally, over a recording that may be damaged or malicious."""


class DecodeStoppedError(DropscribeError):
    """Decoding was ended on request; nothing was written."""

    retryable: ClassVar[bool] = True


def decode(
    source: Path,
    target: Path,
    limits: DecodeLimits,
    wanted: Listening = Listening(),
    *,
    label: str,
    parts: Sequence[PartToDecode] = (),
    scratch: Path | None = None,
    stop: threading.Event | None = None,
    zygote: Zygote | None = None,
) -> Decoded:
    """Decode what is `wanted` of `source` to the FLAC file `target`, which appears only when it is complete.

    `label` is the name of the original in messages. `scratch` is a directory for working data, that of
    `target` unless given: 345 MB an hour for each channel that stays apart, else for each track, and once more where
    several are mixed. `parts` are all files of a recording in parts, `source` among them. Setting `stop` ends the
    decoder within a second. `zygote` forks the decoder; without one it is started as a program. Raises NotMediaError,
    NoAudioError, DecodeLimitError, NoRoomError (a disk is full), SpoolError (one fails or does not answer),
    DecoderKilledError, and DecodeStoppedError after `stop`. Where the decoder breaks, a sound of ours is decoded too:
    if that fails, this host is at fault, and not the recording, which a plain DropscribeError says.
    """
    attempt = DecodeAttempt(limits, scratch or target.parent, stop or threading.Event(), zygote, tuple(parts))
    try:
        return attempt.decode(source, target, wanted, label)
    except BrokenDecoderError as error:
        _blame(error, replace(attempt, parts=()))
        raise


@dataclass(frozen=True, slots=True)
class DecodeAttempt:
    """With what a recording is decoded: see `decode`."""

    limits: DecodeLimits
    scratch: Path
    stop: threading.Event
    zygote: Zygote | None
    parts: tuple[PartToDecode, ...] = ()

    def decode(self, source: Path, target: Path, wanted: Listening, label: str) -> Decoded:
        """As `decode`, but a decoder that breaks is always the fault of the recording: BrokenDecoderError."""
        return _decode(source, target, self, wanted, label)


CONTROL_SECONDS, CONTROL_RATE = 0.25, 16_000


def _blame(error: BrokenDecoderError, attempt: DecodeAttempt) -> None:
    """Raise DropscribeError if the decoder breaks over a sound of ours too: a library is missing here, say."""
    source = attempt.scratch / f"control-{secrets.token_hex(4)}.wav"
    target = source.with_suffix(".flac")
    try:
        _write_control(source)
        attempt.decode(source, target, Listening(), "a sound of our own")
    except (DecodeStoppedError, DecoderKilledError, SpoolError, NoRoomError):
        raise
    except (DropscribeError, OSError) as ours:
        raise DropscribeError(
            f"the decoder of this host does not work: {error.problem.partition(': ')[2] or error.problem}; "
            "a test sound fails too",
            remedy="install dropscribe again here; `dropscribe doctor` checks it",
        ) from ours
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def _write_control(path: Path) -> None:
    """A quarter of a second of a buzz, as WAV."""
    samples = array("h", (8_000 * (-1) ** (number // 20) for number in range(int(CONTROL_SECONDS * CONTROL_RATE))))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, samples.itemsize, CONTROL_RATE, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())


def _decode(source: Path, target: Path, attempt: DecodeAttempt, wanted: Listening, label: str) -> Decoded:
    limits, stop = attempt.limits, attempt.stop
    # A name of its own: an attempt that lost its lease may still be at work on the same target.
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    request = {
        "source": str(source.absolute()),
        "target": str(part.absolute()),
        "scratch": str(attempt.scratch.absolute()),
        "limits": asdict(limits),
        "wanted": asdict(wanted),
        "parts": [*map(asdict, attempt.parts)],
        "file_bytes": limits.file_bytes * (SEPARATE_BYTES // FLOAT_BYTES if wanted.is_separate else 1),
    }
    child = _start(request, label, attempt.zygote, stop)
    try:
        decoded = _interpret(_finished(child, limits, label, stop), label, limits.max_seconds)
        with writing(f"cannot write the audio of {label} to {target}", "check the disk of the spool"):
            access.follow_folder(part)  # a model worker may be another account
            part.replace(target)
    finally:
        if child.poll() is not None:  # else it hangs in a disk, and so would this
            part.unlink(missing_ok=True)
    return decoded


def _finished(
    child: Child, limits: DecodeLimits, label: str, stop: threading.Event
) -> subprocess.CompletedProcess[bytes]:
    """The child's end, waited for; it is killed where that fails."""
    try:
        output, complaint = _wait(child, limits, label, stop)
    except BaseException:
        _kill(child)  # it has a session of its own, so Ctrl-C does not reach it
        raise
    return subprocess.CompletedProcess(child.args, child.wait(), output, complaint)


def new_zygote() -> Zygote | None:
    """A zygote for decoders, to be closed in the end; None on a system that has none."""
    return Zygote(CHILD, _environment()) if zygotes.is_offered() else None


def _start(request: dict[str, Any], label: str, zygote: Zygote | None, stop: threading.Event) -> Child:
    """The process that decodes, forked where there is something to fork it from. Raises SpoolError."""
    asked = json.dumps(request)  # its ASCII escapes carry file names that are not UTF-8
    pipe = subprocess.PIPE
    with explained(OSError, SpoolError, f"cannot start a process to decode {label}", remedy="free some memory"):
        forked = zygote.fork(asked.encode("ascii"), stop) if zygote else None
        return forked or child_process.start(CHILD, asked, env=_environment(), stdout=pipe, stderr=pipe)


def _wait(child: Child, limits: DecodeLimits, label: str, stop: threading.Event) -> tuple[bytes, bytes]:
    """What the child wrote, once it has ended. Raises an error where it takes too long, or hangs."""
    deadline = time.monotonic() + limits.wall_seconds
    has_moved = _watch(child.pid)
    still = 0.0  # by looks and not by the clock, which goes on while a machine sleeps
    output = ChildOutput(child)
    while not output.has_ended(max(0.0, min(POLL_SECONDS, deadline - time.monotonic()))):
        if stop.is_set():
            raise DecodeStoppedError(f"{label}: stopped while decoding", remedy="it starts again")
        if time.monotonic() >= deadline:
            raise _too_slow(label, f"{limits.wall_seconds:.0f} s")
        still = 0.0 if has_moved() else still + POLL_SECONDS
        if still >= limits.stall_seconds:
            raise _stalled(label, limits.stall_seconds)
    return output.written()


def _watch(pid: int) -> Callable[[], bool]:
    """A function that tells whether the process has computed anything since it was asked last."""
    spent = _cpu_ticks(pid)

    def has_moved() -> bool:
        """Has the child done anything since the last look?"""
        nonlocal spent
        before, spent = spent, _cpu_ticks(pid)
        return spent != before

    return has_moved


def _cpu_ticks(pid: int) -> int:
    """CPU time of a process so far, by which it is seen to move. Where that is not known it always moves.

    By its clock: a decoder hides itself, and /proc may show no hidden process (ProtectProc of systemd).
    """
    with suppress(OSError):
        spent = time.clock_gettime_ns(~pid << 3 | CPU_CLOCK)
        return spent // TICK
    return time.monotonic_ns()


def _environment() -> dict[str, str]:
    """The variables of a process that decodes."""
    return child_process.bare_environment() | ONE_THREAD


def _kill(child: Child) -> None:
    """End the decoder and all that it started; one that hangs in the kernel is left to end when its disk answers."""
    if child.poll() is None:
        os.kill(child.pid, signal.SIGKILL)  # first, as one that was just forked leads no group yet
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    for pipe in filter(None, (child.stdout, child.stderr)):
        pipe.close()
    try:
        child.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("decoder %d hangs in a disk beyond any signal; it ends when that answers", child.pid)
        threading.Thread(target=child.wait, daemon=True).start()  # so that it leaves no zombie


def _interpret(child: subprocess.CompletedProcess[bytes], label: str, max_seconds: float) -> Decoded:
    """What the child found, by its status and its answer. Raises an error where it found nothing."""
    written = child.stdout.removeprefix(BEGUN.encode())
    has_begun = written != child.stdout
    if child.returncode < 0:
        raise _killed(-child.returncode, label, has_begun=has_begun)
    if child.returncode > 0 or not written:
        raise _failed(child.stderr, label, has_begun=has_begun)
    answer = _answer(written)
    if isinstance(answer, DecodeRefusal):
        raise REPORTED[answer.error](f"{label}: {printable(answer.reason)[:MAX_REASON]}")
    if answer is None or not 0 <= answer.duration <= max_seconds + 1:
        raise BrokenDecoderError(
            f"{label} confused the decoder, so it is damaged or malicious", remedy="convert it to WAV"
        )
    return answer


def _answer(written: bytes) -> Decoded | DecodeRefusal | None:
    """What the child answers; None for anything that makes no sense, as it may be in the hands of a stranger."""
    from pydantic import ValidationError

    with suppress(ValidationError):
        return _answers().validate_json(written)
    return None


@cache
def _answers() -> TypeAdapter[Decoded | DecodeRefusal]:
    """What checks the answer of such a process, made once."""
    from pydantic import TypeAdapter  # the child, which imports this module, does without

    return TypeAdapter(Decoded | DecodeRefusal)


def _failed(complaint: bytes, label: str, *, has_begun: bool) -> DropscribeError:
    """The error for a child that ended with a status: the recording's doing once it had begun, else ours."""
    last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    reason = printable(last[:MAX_REASON])[:MAX_REASON] or "no reason given"
    if has_begun:
        return BrokenDecoderError(
            f"{label} broke the decoder, so it is damaged or malicious: {reason}", remedy="convert it to WAV"
        )
    return DropscribeError(f"the decoder failed on {label}: {reason}", remedy="run `dropscribe doctor`")


def _killed(number: int, label: str, *, has_begun: bool) -> DropscribeError:
    """Once it has begun, only SIGKILL comes from outside: the decoder ignores what asks it to end."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number == signal.SIGXCPU:
        return _too_slow(label, "the CPU time allowed")
    if number in CRASHES or (has_begun and number != signal.SIGKILL):
        return BrokenDecoderError(
            f"{label} crashed the decoder ({name}), so it is damaged or malicious", remedy="convert it to WAV"
        )
    return DecoderKilledError(
        f"{label}: the decoder was killed ({name}), perhaps because this machine ran out of memory",
        remedy="free some, or lower DROPSCRIBE_CPU_SLOTS",
    )


def _too_slow(label: str, limit: str) -> DecodeLimitError:
    """The error for a recording that takes too long."""
    return DecodeLimitError(
        f"{label} takes longer to decode than {limit}",
        remedy="convert it to WAV or raise DROPSCRIBE_DECODE_CPU_SECONDS",
    )


def _stalled(label: str, seconds: float) -> SpoolError:
    """The error for a decoder that hangs."""
    return SpoolError(
        f"{label}: the decoder made no progress for {seconds:g} s, so a disk does not answer",
        remedy="check those of DROPSCRIBE_HOME and DROPSCRIBE_SPOOL",
    )

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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dropscribe.core import child_process
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.disk_errors import cannot_write
from dropscribe.core.errors import (
    DecodeLimitError,
    DropscribeError,
    NoAudioError,
    NoRoomError,
    NotMediaError,
    SpoolError,
)
from dropscribe.core.types import Span, Track

if TYPE_CHECKING:
    from dropscribe.core.settings import Settings

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5  # between two looks at `stop`; the end of the child is noticed at once
FLOAT_BYTES = 4  # a sample of the unscaled pass
MAX_SEPARATE = 8  # channels that are transcribed one by one: what FLAC holds
SEPARATE_BYTES = 2 * MAX_SEPARATE  # a sample of all of them in the spool
KILL_SECONDS = 10.0  # a process that outlives SIGKILL for so long hangs in the kernel
AGES = 10 * 366 * 86_400  # s; no setting means more, and the kernel counts CPU time in 64 bits of nanoseconds

# What the child may report by name; anything else it says is a defect of dropscribe.
REPORTED = {kind.__name__: kind for kind in (NotMediaError, NoAudioError, DecodeLimitError, NoRoomError, SpoolError)}

CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})

# Threads of a BLAS reserve address space for every core, which RLIMIT_AS counts.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one recording may take: its length and CPU time in seconds, address space in MiB.

    `stall_seconds` is for how long the decoder may stand still, on a disk that does not answer. Python, PyAV
    and numpy take 220 MiB of that space by themselves (56 MB are in use).
    """

    max_seconds: float = 24 * 3600
    memory_mb: int = 1024
    cpu_seconds: int = 7200
    stall_seconds: float = 300

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
    though the file goes on behind it.
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

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Self:
        """From JSON, as the child writes it."""
        tracks = tuple(Track(**track) for track in answer["tracks"])
        lists = {name: tuple(answer[name]) for name in ("separate_channels", "remarks")}
        damaged = tuple(Span(**span) for span in answer["damaged"])
        return cls(**{**answer, **lists, "tracks": tracks, "damaged": damaged})


class DecodeStoppedError(DropscribeError):
    """Decoding was ended on request; nothing was written."""

    retryable: ClassVar[bool] = True


class DecoderKilledError(DropscribeError):
    """Somebody else ended the decoder: an operator, or a kernel that was short of memory; it is tried again."""

    retryable: ClassVar[bool] = True


def decode(
    source: Path,
    target: Path,
    limits: DecodeLimits,
    wanted: Listening = Listening(),
    *,
    label: str,
    scratch: Path | None = None,
    stop: threading.Event | None = None,
) -> Decoded:
    """Decode what is `wanted` of `source` to the FLAC file `target`, which appears only when it is complete.

    `label` is the name of the original in messages. `scratch` is a directory for working data, that of
    `target` unless given: 345 MB an hour for each channel that stays apart, else for each track, and once more where
    several are mixed. Setting `stop` ends the decoder within a second. Raises
    NotMediaError, NoAudioError, DecodeLimitError, NoRoomError (a disk is full), SpoolError (one fails or does not
    answer), DecoderKilledError, and DecodeStoppedError after `stop`.
    """
    # A name of its own: an attempt that lost its lease may still be at work on the same target.
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    request = {
        "source": str(source.absolute()),
        "target": str(part.absolute()),
        "scratch": str((scratch or target.parent).absolute()),
        "limits": asdict(limits),
        "wanted": asdict(wanted),
        "file_bytes": limits.file_bytes * (SEPARATE_BYTES // FLOAT_BYTES if wanted.is_separate else 1),
    }
    child = _start(request, label)
    try:
        decoded = _interpret(_finished(child, limits, label, stop or threading.Event()), label)
        _publish(part, target, label)
    finally:
        if child.poll() is not None:  # else it hangs in a disk, and so would this
            part.unlink(missing_ok=True)
    return decoded


def _finished(
    child: subprocess.Popen[bytes], limits: DecodeLimits, label: str, stop: threading.Event
) -> subprocess.CompletedProcess[bytes]:
    try:
        output, complaint = _wait(child, limits, label, stop)
    except BaseException:
        _kill(child)  # it has a session of its own, so Ctrl-C does not reach it
        raise
    return subprocess.CompletedProcess(child.args, child.returncode, output, complaint)


def _start(request: dict[str, Any], label: str) -> subprocess.Popen[bytes]:
    asked = json.dumps(request)  # its ASCII escapes carry file names that are no UTF-8
    pipe = subprocess.PIPE
    try:
        return child_process.start("worker.preparing.decode_child", asked, env=_environment(), stdout=pipe, stderr=pipe)
    except OSError as error:
        raise SpoolError(
            f"cannot start a process to decode {label}: {error.strerror}", remedy="free some memory"
        ) from error


def _wait(
    child: subprocess.Popen[bytes], limits: DecodeLimits, label: str, stop: threading.Event
) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + limits.wall_seconds
    has_moved = _watch(child.pid)
    still = 0.0  # by looks and not by the clock, which goes on while a machine sleeps
    while True:
        try:
            return child.communicate(timeout=max(0.0, min(POLL_SECONDS, deadline - time.monotonic())))
        except subprocess.TimeoutExpired as error:
            if stop.is_set():
                raise DecodeStoppedError(f"{label}: told to stop while decoding", remedy="it starts anew") from error
            if time.monotonic() >= deadline:
                raise _too_slow(label, f"{limits.wall_seconds:.0f} s") from error
            still = 0.0 if has_moved() else still + POLL_SECONDS
            if still >= limits.stall_seconds:
                raise _stalled(label, limits.stall_seconds) from error


def _watch(pid: int) -> Callable[[], bool]:
    """A function that tells whether the process has computed anything since it was asked last."""
    spent = _cpu_ticks(pid)

    def has_moved() -> bool:
        nonlocal spent
        before, spent = spent, _cpu_ticks(pid)
        return spent != before

    return has_moved


def _cpu_ticks(pid: int) -> int:
    """CPU time of a process so far, by which it is seen to move. Where that is not told it always moves."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return time.monotonic_ns()
    return int(fields[11]) + int(fields[12])  # utime and stime of proc(5), which counts from the name


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | ONE_THREAD | child_process.import_path()


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the decoder and all that it started; one that hangs in the kernel is left to end when its disk answers."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in filter(None, (child.stdout, child.stderr)):
        pipe.close()
    try:
        child.wait(KILL_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("decoder %d hangs in a disk beyond any signal; it ends when that answers", child.pid)
        threading.Thread(target=child.wait, daemon=True).start()  # so that it leaves no zombie


def _interpret(child: subprocess.CompletedProcess[bytes], label: str) -> Decoded:
    if child.returncode < 0:
        raise _killed(signal.Signals(-child.returncode), label)
    if child.returncode > 0 or not child.stdout:
        last = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise DropscribeError(
            f"the decoder failed on {label}: {last or 'no reason given'}", remedy="run `dropscribe doctor`"
        )
    answer = json.loads(child.stdout)
    if kind := answer.get("error"):
        raise REPORTED[kind](f"{label}: {answer['reason']}")
    return Decoded.read(answer)


def _killed(number: signal.Signals, label: str) -> DropscribeError:
    if number in CRASHES:
        return NotMediaError(
            f"{label} crashed the decoder ({number.name}), so it is damaged or malicious", remedy="convert it to WAV"
        )
    if number == signal.SIGXCPU:
        return _too_slow(label, "the CPU time allowed")
    return DecoderKilledError(
        f"{label}: the decoder was killed ({number.name}), perhaps because this machine ran out of memory",
        remedy="free some, or lower DROPSCRIBE_CPU_SLOTS",
    )


def _too_slow(label: str, limit: str) -> DecodeLimitError:
    return DecodeLimitError(
        f"{label} takes longer to decode than {limit}",
        remedy="convert it to WAV or raise DROPSCRIBE_DECODE_CPU_SECONDS",
    )


def _stalled(label: str, seconds: float) -> SpoolError:
    return SpoolError(
        f"{label}: the decoder stood still for {seconds:g} s, so a disk does not answer",
        remedy="check those of DROPSCRIBE_HOME and DROPSCRIBE_SPOOL",
    )


def _publish(part: Path, target: Path, label: str) -> None:
    try:
        part.replace(target)
    except OSError as error:
        message = f"cannot write the audio of {label} to {target}: {error.strerror}; check the disk of the spool"
        raise cannot_write(message, error) from error

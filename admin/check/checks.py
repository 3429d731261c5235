"""What `dropscribe doctor` looks at on this machine: Redis, the decoder, the models, the GPU, disks, limits."""

from __future__ import annotations

import shutil
import tempfile
import wave
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropscribe.admin.terminal import render
from dropscribe.core import gpus, landlock, private_state, sandbox
from dropscribe.core.errors import BrokerError, DropscribeError
from dropscribe.core.gpus import GpuListing
from dropscribe.core.passwords import mask
from dropscribe.core.redis_refusals import refusal
from dropscribe.core.settings import Settings

if TYPE_CHECKING:
    from dropscribe.models.checkpoints.known import KnownCheckpoint

SPACE_WARN = 5e9  # bytes: half a day of decoded audio and the copies of a few recordings
SPACE_FAIL = 0.5e9  # bytes: less than one long recording takes while it is prepared
INOTIFY_WATCHES = 65_536  # one a directory; older kernels allow 8,192 in all
WATCH_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")
SECONDS = 0.2  # length of the recording that the decoder is tried with
RATE = 16_000  # Hz


class Severity(StrEnum):
    """How a check came out, from good to bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, what was found, and what to do unless it is well."""

    name: str
    level: Severity
    finding: str
    remedy: str = ""

    @property
    def advice(self) -> str:
        """The remedy, unless all is well."""
        return "" if self.level is Severity.OK else self.remedy


def worst(findings: Sequence[Finding]) -> Severity:
    """The worst that came out."""
    return max((finding.level for finding in findings), key=list(Severity).index)


def documents(findings: Sequence[Finding]) -> dict[str, Any]:
    """All findings as docs/cli.md describes them."""
    checks = [asdict(finding) | {"level": finding.level.value} for finding in findings]
    return {"status": worst(findings).value, "checks": checks}


@dataclass(frozen=True, slots=True)
class RedisAnswer:
    """What a Redis server says of itself; empty where this user may not ask."""

    version: str
    eviction: str


def ask_redis(settings: Settings) -> RedisAnswer:
    """Ask Redis who it is. Raises BrokerError when it does not answer within two seconds, or takes no writes."""
    from redis.exceptions import NoPermissionError, RedisError

    from dropscribe.core.queue import KEY_PREFIX, PROBE, redis_url
    from dropscribe.core.sentinel import redis_client

    url = redis_url(settings)
    try:
        with redis_client(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.set(KEY_PREFIX + PROBE, "", px=1)
            server: dict[str, Any] = {}
            with suppress(NoPermissionError):  # of a user with no more rights than it needs
                server = client.info()
    except (RedisError, OSError, ValueError) as error:
        if known := refusal(error):
            raise BrokerError(f"{mask(url)} {known}", remedy=known.remedy) from error
        if not settings.redis_url:
            raise BrokerError("the private one is not running", remedy="`dropscribe up` starts it") from error
        raise BrokerError(
            f"{mask(url)} does not answer ({error})", remedy="start it or correct DROPSCRIBE_REDIS_URL"
        ) from error
    return RedisAnswer(str(server.get("redis_version", "")), str(server.get("maxmemory_policy", "")))


def decoder() -> Finding:
    """Does PyAV load, and decode a short recording?"""
    try:
        import av
    except ImportError as error:
        return Finding(
            "decoder", Severity.FAIL, f"PyAV does not load: {error}", "pip install --force-reinstall 'av<19'"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = _short_recording(Path(folder))
        try:
            # With every argument that decoding gives: PyAV 19 does not take the last one.
            options = {"format_whitelist": "wav", "protocol_whitelist": "file"}
            with av.open(str(path), options=options, metadata_errors="replace") as media:
                samples = sum(map(attrgetter("samples"), media.decode(audio=0)))
        except (av.FFmpegError, TypeError) as error:
            return Finding(
                "decoder", Severity.FAIL, f"PyAV {av.__version__}: {error}", "pip install --force-reinstall 'av<19'"
            )
    if samples != int(SECONDS * RATE):
        found = f"PyAV {av.__version__} decoded {samples} of {int(SECONDS * RATE)} samples"
        return Finding("decoder", Severity.FAIL, found, "pip install --force-reinstall 'av<19'")
    return Finding("decoder", Severity.OK, f"PyAV {av.__version__} decodes")


def _short_recording(folder: Path) -> Path:
    """Write a fraction of a second of silence."""
    path = folder / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * int(SECONDS * RATE)))
    return path


def where_needed(settings: Settings) -> Severity:
    """How bad it is that this host cannot do something: in a fleet, another may."""
    return Severity.WARN if settings.database_url else Severity.FAIL


def closed_off(settings: Settings) -> Finding:
    """Can decoders be closed off from this machine? In a fleet, this host may have none of them."""
    missing, mode = sandbox.lacks(), settings.sandbox
    if mode == sandbox.OFF:
        found = "a recording that takes over its decoder can read all that the worker may read"
        return Finding("sandbox", Severity.WARN, found, "set DROPSCRIBE_SANDBOX=try")
    if not missing:
        return Finding("sandbox", Severity.OK, f"decoders are closed off, by Landlock {landlock.version()} and seccomp")
    level = where_needed(settings) if mode == sandbox.REQUIRE else Severity.WARN
    found = f"decoders are only partly closed off: the kernel lacks {' and '.join(missing)}"
    return Finding(
        "sandbox", level, found, "start a kernel that has it; in a container, let its seccomp profile pass it"
    )


def private(home: Path) -> Finding:
    """Can others look into the state directory?"""
    if home.exists() and private_state.is_open(home):
        found = f"others can look into {home}, where recordings and transcripts are kept for a time"
        return Finding("privacy", Severity.WARN, found, f"chmod 700 {home}")
    return Finding("privacy", Severity.OK, f"{home} is closed to others")


def judged(name: str, level: Severity, look: Callable[[], str]) -> Finding:
    """What `look` finds; at this level, what is wrong and what to do where it raises an error of ours."""
    try:
        return Finding(name, Severity.OK, look())
    except DropscribeError as error:
        return Finding(name, level, error.problem, error.remedy)


def speech_detector(settings: Settings) -> Finding:
    """Is there what CPU workers find speech with? In a fleet, this host may have none of them."""
    from dropscribe.worker.preparing import vad

    return judged("speech detector", where_needed(settings), lambda: vad.load(settings.speech_detector).name)


def speaker_encoder(settings: Settings) -> Finding:
    """Is there what CPU workers tell speakers apart with? In a fleet, this host may have none of them."""
    from dropscribe.models.checkpoints.known import SPEAKER_ENCODER
    from dropscribe.models.speakers import encoder

    if not settings.embeds_voices:
        return Finding("speaker encoder", Severity.OK, "not used: by the settings, voices are not compared")

    def look() -> str:
        """That its package loads, and where its weights are."""
        encoder.require()
        return fetched(SPEAKER_ENCODER)

    return judged("speaker encoder", where_needed(settings), look)


def fetched(checkpoint: KnownCheckpoint) -> str:
    """A checkpoint by its name, and whether its files are here."""
    from dropscribe.models.checkpoints import hub_cache

    here = hub_cache.snapshot(checkpoint.id, checkpoint.revision).is_dir()
    size = render.size(checkpoint.size)
    return f"{checkpoint.title} is here" if here else f"{checkpoint.title} ({size}) is fetched at the first start"


def no_gpu(settings: Settings, listing: GpuListing) -> Finding:
    """That no GPU is given to this process, which is well unless the engine needs one."""
    if gpus.is_unlisted():
        return Finding("gpu", Severity.WARN, gpus.UNLISTED, gpus.UNLISTED_REMEDY)
    from dropscribe.models import registry

    spec = registry.SPECS.get(settings.engine)
    if spec and spec.needs_gpu:
        remedy = "install the NVIDIA driver, or set DROPSCRIBE_ENGINE=auto"
        return Finding("gpu", where_needed(settings), f"{_none(listing)}, and {spec.name} needs one", remedy)
    return Finding("gpu", Severity.OK, f"{_none(listing)}; not needed")


def _none(listing: GpuListing) -> str:
    """Why this process has no GPU."""
    if not listing.on_machine:
        return "none"
    return f"none of this machine's {listing.on_machine}: {gpus.VARIABLE} gives it none"


def space(name: str, path: Path) -> Finding:
    """Is there room where working files go, and may they be written?"""
    where = nearest_existing(path)
    try:
        free = shutil.disk_usage(where).free
        with tempfile.TemporaryFile(dir=where):
            pass
    except OSError as error:
        return Finding(f"{name} {path}", Severity.FAIL, f"cannot be written: {error.strerror}", _elsewhere(name))
    level = Severity.FAIL if free < SPACE_FAIL else Severity.WARN if free < SPACE_WARN else Severity.OK
    return Finding(f"{name} {path}", level, f"{render.size(free)} free", f"make room, or {_elsewhere(name)}")


def _elsewhere(name: str) -> str:
    """What to do about a directory that cannot be used."""
    return f"set DROPSCRIBE_{name.upper()} to another directory"


def listed(folder: str) -> list[Path]:
    """What is in a folder, by name; nothing where it cannot be listed."""
    with suppress(OSError):
        return sorted(Path(folder).iterdir())
    return []


def nearest_existing(path: Path | str) -> Path:
    """The path, or the nearest directory above it that exists."""
    path = Path(path)
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def inotify() -> Finding:
    """May as many directories be watched as large folders have?"""
    try:
        limit = int(WATCH_LIMIT.read_text())
    except OSError:
        return Finding("inotify", Severity.OK, "not on this system; folders are scanned")
    found = f"{limit:,} directories may be watched"
    if limit >= INOTIFY_WATCHES:
        return Finding("inotify", Severity.OK, found)
    remedy = "sysctl fs.inotify.max_user_watches=524288; without, new files are found by the next scan only"
    return Finding("inotify", Severity.WARN, found, remedy)

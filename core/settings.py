"""Every setting, declared once: name, type, default, help. Environment over `dropscribe.toml` over default.

Plain pydantic rather than pydantic-settings: the latter doubles the start-up time of `dropscribe status`, and
where a value came from has to be told anyway.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)

from dropscribe.core import old_names
from dropscribe.core.errors import SettingsError
from dropscribe.core.types import SAFE_PARTS, ModelPart, Priority

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "DROPSCRIBE_"
CONFIG_VARIABLE = "DROPSCRIBE_CONFIG"  # names the file, so it cannot stand in it
CONFIG_NAME = "dropscribe.toml"
OLD_NAMES = old_names.SETTINGS  # old -> new; both are accepted until `old_names.UNTIL`
MISSED_BEATS = 3  # so many heartbeats
MAX_CONTEXT = 10_000  # characters, more than models take: VibeVoice-ASR at most 2,048 tokens

OutputFormat = Literal["json", "txt", "srt", "vtt", "tsv", "html", "md", "docx", "rttm"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
VIBEVOICE = "microsoft/VibeVoice-ASR-HF"  # on Hugging Face
EngineName = Literal["auto", "onnx", "scripted", "vibevoice", "whisper"]


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _no_format(ending: str) -> str:
    if ending in OUTPUT_FORMATS:
        raise ValueError(f"{ending} is the ending of a transcript")
    return ending


def default_home() -> Path:
    """Where state lives unless told otherwise, by the XDG base directory specification."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "dropscribe"


def _as_text(value: object) -> object:
    """A number as TOML writes it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Settings(BaseModel):
    """All settings of one process; sizes in the unit that the name ends with."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Path = Field(default_factory=default_home, description="directory that holds all state")
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite under home", json_schema_extra={"secret": True}
    )
    redis_url: str = Field(
        "",
        description="Redis URL; empty: the private Redis that `up` starts",
        json_schema_extra={"secret": True},
    )
    results: Path | None = Field(
        None, description="mirror transcripts under this directory instead of beside the recordings"
    )
    spool: Path | None = Field(None, description="decoded audio on its way to a model; empty: under home")
    outputs: Annotated[tuple[OutputFormat, ...], BeforeValidator(_split_commas)] = Field(
        ("json", "txt", "srt", "vtt", "tsv"), min_length=1, description="formats written for every transcript"
    )

    marker: Annotated[str, AfterValidator(_no_format)] = Field(
        "",
        pattern=r"^[a-z]{0,8}$",
        description="ending of a file that is written when all others of a recording are whole, such as done",
    )

    engine: Annotated[EngineName, BeforeValidator(partial(old_names.refuse_gone, "engine"))] = Field(
        "auto", description="speech model; auto: vibevoice where a GPU can hold it, else whisper"
    )
    precision: Literal["auto", "bf16", "fp16", "fp32", "int8", "nf4"] = Field(
        "auto", description="number format of the model's weights"
    )
    quantize: Annotated[tuple[ModelPart, ...], BeforeValidator(_split_commas)] = Field(
        SAFE_PARTS,
        min_length=1,
        description="parts of vibevoice that int8 and nf4 quantize; more than the default is unsafe",
    )
    model: str = Field(
        "",
        description="checkpoint: tiny, base, small, medium, large-v3 or turbo of whisper, a folder, or a Hugging Face "
        "id; empty: what fits this machine",
    )
    revision: str = Field(
        "", description="commit or tag of that id; empty: the verified one of a known checkpoint, else its newest"
    )
    attention: Literal["auto", "flash", "varlen", "sdpa", "eager"] = Field(
        "auto", description="how vibevoice computes attention; auto: flash-attn where it can run, else sdpa"
    )
    gpu_share: float = Field(
        1, gt=0, le=1, description="part of a GPU's memory that one model worker may plan with; 0.45 for two on a card"
    )
    batching: bool = Field(True, description="read several chunks at once; off: one at a time, the reference")
    temperature: float = Field(0, ge=0, le=2, description="chance in the choice of words; 0: the likeliest word")
    repetition_penalty: float = Field(1, gt=0, le=2, description="above 1: words of the answer so far get less likely")
    max_new_tokens: int = Field(32_768, ge=1, le=32_768, description="longest answer to one chunk")
    language: str = Field(
        "",
        pattern=r"^([a-z]{2,3})?$",
        description="what is spoken, as a code (de); for whisper, which else finds out by itself",
    )
    context: str = Field("", max_length=MAX_CONTEXT, description="names and topics that help the model to spell")
    hotwords: Path | None = Field(
        None, description="file of terms to add to the context: one a line or with commas between; # begins a comment"
    )
    priority: Priority = Field(Priority.NORMAL, description="priority of recordings found by the watcher")
    script: str = Field("", description="what the scripted engine answers (for tests), as JSON")
    speech_detector: Literal["silero", "energy"] = Field(
        "silero", description="what finds speech; energy takes any sound for speech (for tests)"
    )

    when_done: Literal["keep", "archive"] = Field(
        "keep", description="archive: move recordings into the folders done and failed beside them once their job ended"
    )
    status_page: bool = Field(
        False, description="keep a page _status.html in each watched folder, for people who have only the share"
    )

    stable_seconds: float = Field(10, ge=0, description="a local file is complete after standing still so long")
    stable_seconds_network: float = Field(30, ge=0, description="the same on a network filesystem")
    scan_seconds: float = Field(60, gt=0, description="longest time between two scans of a local folder")
    scan_seconds_network: float = Field(30, gt=0, description="longest time between two scans of a network folder")

    scan_deadline_seconds: float = Field(
        300, gt=0, description="a look into a folder that makes no progress for so long is given up"
    )

    chunk_seconds: float = Field(
        0, ge=0, description="longest piece of a recording read in one go; 0: what the model can hold"
    )
    chunk_target_seconds: float = Field(
        0, ge=0, description="length aimed at; 0: so that all workers have a part, from ten minutes to the longest"
    )
    overlap_seconds: float = Field(
        30, ge=0, description="what neighbouring pieces share, so that no word and no speaker is lost at a cut"
    )
    min_chunk_seconds: float = Field(
        15, gt=0, description="a chunk that failed a quality check is halved and transcribed again down to this length"
    )
    max_halvings: int = Field(3, ge=0, le=6, description="how often it is halved at most")
    min_speech_coverage: float = Field(
        0.8, ge=0, le=1, description="quality check: share of the detected speech that segments must cover"
    )
    max_words_per_second: float = Field(7, gt=0, description="quality check: highest speech rate that is possible")
    segment_slack_seconds: float = Field(
        0.5, ge=0, description="quality check: how far a segment may reach beyond its chunk"
    )
    speakers: Annotated[str, BeforeValidator(_as_text)] = Field(
        "auto",
        pattern=r"^(auto|off|[1-9][0-9]?)$",
        description="who speaks is told by the voices: `auto`, a number where it is known how many speak, or `off`",
    )
    speaker_encoder: Literal["campplus", "none"] = Field(
        "campplus",
        description="makes the embeddings by which voices are compared; `none`: only the engine tells speakers apart",
    )
    model_slots: int = Field(
        0, ge=0, description="chunks that one model worker reads at once; 0: as many as fit its GPU"
    )
    cpu_slots: int = Field(
        0, ge=0, description="recordings that a CPU worker prepares at once; 0: one for each core, at most 4"
    )

    lease_seconds: float = Field(90, gt=0, description="work not renewed for so long is given to another worker")
    renew_seconds: float = Field(20, gt=0, description="how often a worker renews its lease and its heartbeat")
    reconcile_seconds: float = Field(30, gt=0, description="how often lost work is looked for")
    resend_seconds: float = Field(15, gt=0, description="a message younger than this is not taken for lost")
    missing_seconds: float = Field(120, ge=0, description="how long a vanished file may take to come back")
    stall_seconds: float = Field(
        3600, gt=0, description="a model that shows no progress for so long hangs; its worker starts anew"
    )
    lost_attempts: int = Field(3, ge=1, description="a recording that so many workers did not survive is parked")
    failed_attempts: int = Field(3, ge=1, description="how often a failing step is tried before the job fails")
    circuit_breaker_failures: int = Field(
        5, ge=1, description="a worker ends and is started anew after so many different recordings failed in a row"
    )

    spool_gb: float = Field(
        100, gt=0, description="decoded audio that may wait for a model (an hour takes 0.1 GB); then preparing pauses"
    )
    decode_hours: float = Field(24, gt=0, description="longest recording that is accepted")
    decode_memory_mb: int = Field(1024, ge=256, description="memory that decoding may take")
    decode_cpu_seconds: int = Field(7200, gt=0, description="CPU time that decoding may take")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["json", "text"] = Field("json", description="JSON lines for programs, text for people")

    webhook_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="address that is told of every final state by HTTP POST",
        json_schema_extra={"secret": True},
    )
    webhook_secret: str = Field(
        "", description="what notifications are signed with; empty: not signed", json_schema_extra={"secret": "whole"}
    )
    webhook_hosts: Annotated[tuple[str, ...], BeforeValidator(_split_commas)] = Field(
        (), description="hosts (or host:port) that folders may name as receivers of notifications of their own"
    )
    webhook_tries: int = Field(
        14, ge=1, description="how often a notification is tried, further and further apart; 14: for about five hours"
    )

    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of the metrics for Prometheus; more processes take the next; 0: none"
    )
    metrics_address: str = Field("127.0.0.1", min_length=1, description="address that the metrics are served at")

    _remarks: tuple[str, ...] = PrivateAttr(())

    @property
    def remarks(self) -> tuple[str, ...]:
        """One sentence for each old name or value that they were given by."""
        return self._remarks

    def remember(self, remarks: Iterable[str]) -> Settings:
        """Keep these `remarks`; returns the settings themselves."""
        self._remarks = tuple(remarks)
        return self

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'dropscribe.db'}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None for any other database."""
        scheme, _, rest = self.database.partition(":///")
        path = rest.partition("?")[0]
        return Path(path) if scheme.split("+")[0] == "sqlite" and path else None

    @property
    def embeds_voices(self) -> bool:
        """Are speakers told apart by embeddings?"""
        return self.speakers != "off" and self.speaker_encoder != "none"

    @property
    def people(self) -> int | None:
        """How many speak, where that is known."""
        return int(self.speakers) if self.speakers.isdigit() else None

    @property
    def silence_seconds(self) -> float:
        """How long a process may go without a heartbeat before it is presumed dead."""
        return MISSED_BEATS * self.renew_seconds

    @property
    def spool_dir(self) -> Path:
        """Directory of decoded audio."""
        return self.spool or self.home / "spool"

    @property
    def scratch_dir(self) -> Path:
        """Directory for copies of sources while they are decoded; local to this machine."""
        return self.home / "scratch"

    def for_job(self, overrides: Mapping[str, Any]) -> Settings:
        """These settings with those that the folder of a recording has of its own; see `core.folder_settings`.

        Raises SettingsError where a job was admitted with a value that there is not any more.
        """
        names = overrides.keys() & Settings.model_fields.keys()
        own = _validated({name: old_names.current_value(name, overrides[name]) for name in names}, str)
        return self.model_copy(update={name: getattr(own, name) for name in names})

    def digest(self, context: str | None = None) -> str:
        """Hex digest of what shapes a transcript: equal content with an equal digest is a duplicate."""
        shaping = {
            "engine": self.engine,
            "precision": self.precision,
            "quantize": sorted(self.quantize),
            "model": self.model or VIBEVOICE,  # what an empty one meant when the first transcripts were made
            "revision": self.revision,
            "temperature": self.temperature,
            "repetition_penalty": self.repetition_penalty,
            "max_new_tokens": self.max_new_tokens,
            "language": self.language,
            "context": self.context if context is None else context,
            "chunk_seconds": self.chunk_seconds,
            "chunk_target_seconds": self.chunk_target_seconds,
            "overlap_seconds": self.overlap_seconds,
            "speakers": self.speakers,
            "speaker_encoder": self.speaker_encoder,
            "script": self.script,
        }
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as `dropscribe config` shows it."""

    name: str
    variable: str
    value: str
    source: str
    help: str


def load(environ: Mapping[str, str] | None = None, *, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read all settings. `overrides` are command-line options and win over everything.

    Raises SettingsError for an unknown key (naming the nearest known one) or a value that does not fit.
    """
    remarks: list[str] = []
    return _build(*_layers(os.environ if environ is None else environ, overrides, remarks)).remember(remarks)


def origins(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Origin]:
    """Every setting with its value and where it came from; secrets are masked."""
    layers, file = _layers(os.environ if environ is None else environ, None, [])
    return [_origin(name, settings, layers, file) for name in Settings.model_fields]


def _origin(name: str, settings: Settings, layers: dict[str, dict[str, Any]], file: Path | None) -> Origin:
    field = Settings.model_fields[name]
    source = "default"
    if name in layers["file"]:
        source = str(file)
    if name in layers["environment"]:
        source = "environment"
    value = getattr(settings, name)
    shown = ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    extra = field.json_schema_extra
    if shown and isinstance(extra, dict) and (masked := extra.get("secret")):
        shown = "***" if masked == "whole" else mask(shown)
    return Origin(name, PREFIX + name.upper(), shown, source, field.description or "")


def mask(url: str) -> str:
    """The URL with its password replaced by `***`."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.split(':', 1)[0]}:***@{host}"))


def _layers(
    environ: Mapping[str, str], overrides: Mapping[str, Any] | None, remarks: list[str]
) -> tuple[dict[str, dict[str, Any]], Path | None]:
    """What each place says, by names of now; `remarks` are added to for old ones."""
    from_environment = renamed(_from_environment(environ), remarks, lambda name: PREFIX + name.upper())
    file = _find_file(environ, from_environment)
    from_file = renamed(_from_file(file), remarks, lambda name: f"{name} in {file}") if file else {}
    given = renamed({key: value for key, value in (overrides or {}).items() if value is not None}, remarks)
    return {"file": from_file, "environment": from_environment, "options": given}, file


def renamed(given: Mapping[str, Any], remarks: list[str], where: Callable[[str], str] = str) -> dict[str, Any]:
    """Settings under the names and with the values of now; of two names for one setting, the new one wins.

    Adds a sentence for each old one to `remarks`; `where` says what a name is called in the place that it came from.
    """
    found = {name: old_names.current_value(name, value) for name, value in given.items() if name not in OLD_NAMES}
    for name, value in found.items():
        if value is not given[name]:
            remarks.append(_remark(f"{where(name)} = {given[name]!r}", repr(value)))
    for old, new in OLD_NAMES.items():
        if old in given:
            ignored = f", which is set too: {where(old)} is ignored" if new in given else ""
            remarks.append(_remark(where(old), where(new)) + ignored)
            found.setdefault(new, given[old])
    return found


def _remark(old: str, new: str) -> str:
    return f"{old} is the old name, known until version {old_names.UNTIL}; say {new}"


def _is_known(name: str) -> bool:
    return name in Settings.model_fields or name in OLD_NAMES


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if not _is_known(name):
            known = [PREFIX + field.upper() for field in Settings.model_fields]
            raise SettingsError(_unknown("environment variable", variable, [*known, CONFIG_VARIABLE]))
        if value != "":  # an empty variable is how compose files spell "not set"
            found[name] = value
    return found


def _find_file(environ: Mapping[str, str], from_environment: Mapping[str, Any]) -> Path | None:
    if named := environ.get(CONFIG_VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which is not a file; correct or unset it")
        return path
    home = Path(from_environment.get("home") or default_home()).expanduser()
    return next((path for path in (Path(CONFIG_NAME), home / CONFIG_NAME) if path.is_file()), None)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read settings from {path}: {error}; mend the file") from error
    for name in values:
        if not _is_known(name):
            raise SettingsError(f"{path}: " + _unknown("setting", name, list(Settings.model_fields)))
    return values


NEAR = 0.7  # likeness of names, by difflib, of which one may be the other mistyped


def _unknown(kind: str, name: str, known: list[str]) -> str:
    bare = {one.removeprefix(PREFIX): one for one in known}  # what all have in common makes none more alike
    nearest = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1, cutoff=NEAR)
    hint = f"did you mean {bare[nearest[0]]}?" if nearest else "`dropscribe config` lists them all"
    return f"unknown {kind} {name}; {hint}"


def _build(layers: dict[str, dict[str, Any]], file: Path | None) -> Settings:
    merged: dict[str, Any] = {}
    for values in layers.values():
        merged |= values

    def called(name: str) -> str:
        if name in layers["environment"]:
            return PREFIX + name.upper()
        return f"{name} in {file}" if name in layers["file"] else name

    settings = _validated(merged, called)
    paths = {name: getattr(settings, name) for name in ("home", "results", "spool", "hotwords")}
    return settings.model_copy(update={name: path.expanduser().absolute() for name, path in paths.items() if path})


def faults(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without what only follows from it: a list whose every item is wrong is not empty besides."""
    return [one for one in error.errors() if one["type"] != "too_short" or not one["input"]]


def _validated(values: Mapping[str, Any], called: Callable[[str], str]) -> Settings:
    """Settings of these values; `called` says what a setting is called in the place that it came from."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item, called) for item in faults(error))) from error


def _explain(item: ErrorDetails, called: Callable[[str], str]) -> str:
    name = called(str(item["loc"][0])) if item["loc"] else "settings"
    return f"{name} = {item['input']!r}: {item['msg'].removeprefix('Value error, ').lower()}"

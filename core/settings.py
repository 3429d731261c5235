"""Every setting, declared once: name, type, default, help. Those of one engine are declared beside it.

`core.settings_loading` reads them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
)
from pydantic.fields import FieldInfo

from dropscribe.core.engine_settings import EngineSettings, groups
from dropscribe.core.engines import AUTO
from dropscribe.core.engines import checked as checked_engine
from dropscribe.core.job_overrides import NAMES as OF_A_JOB
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.settings_errors import PREFIX, validated
from dropscribe.core.types import Priority

# Settings that left the digest as it was, and the values that do so.
LATER: dict[str, Any] = {"known_voices": False, "channels": "mix", "tracks": "speech"}
MISSED_BEATS = 3  # so many heartbeats
MAX_CONTEXT = 10_000  # characters, more than models take: at most some thousand tokens
FIRST_MODEL = "microsoft/VibeVoice-ASR-HF"  # what an empty `model` meant when the first transcripts were made

OutputFormat = Literal["json", "txt", "srt", "vtt", "tsv", "html", "md", "docx", "rttm"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)

Own = TypeVar("Own", bound=EngineSettings)


def split_commas(value: object) -> object:
    """A list of a text with commas, as environment variables have it; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _no_format(ending: str) -> str:
    if ending in OUTPUT_FORMATS:
        raise ValueError(f"{ending} is the ending of a transcript")
    return ending


def _engine_of(entry: str) -> str:
    checked_engine(entry.partition(":")[0])
    return entry


def default_home() -> Path:
    """Where state lives unless told otherwise, by the XDG base directory specification."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "dropscribe"


def _as_text(value: object) -> object:
    """A number as TOML writes it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# What shapes a transcript, and so is part of `Settings.digest`; of engines' own settings, those that say so.
SHAPING = (
    "engine", "precision", "model", "revision", "temperature", "repetition_penalty", "max_new_tokens", "language",
    "context", "chunk_seconds", "chunk_target_seconds", "overlap_seconds", "speakers", "speaker_encoder",
)  # fmt: skip
OPTION: dict[str, JsonValue] = {"option": True}  # it is an option of commands too, though it shapes no transcript


def sqlite_file(url: str) -> Path | None:
    """The file of the SQLite database at a SQLAlchemy URL; None for any other database."""
    scheme, _, rest = url.partition(":///")
    path = rest.partition("?")[0]
    return Path(path) if scheme.split("+")[0] == "sqlite" and path else None


class Settings(BaseModel):
    """All settings of one process; sizes in the unit that the name ends with.

    Those of one engine are got by `of` and set by `having`.
    """

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
        None,
        description="mirror transcripts under this directory instead of beside the recordings",
        json_schema_extra={"option": "--output"},
    )
    spool: Path | None = Field(None, description="decoded audio on its way to a model; empty: under home")
    outputs: Annotated[tuple[OutputFormat, ...], BeforeValidator(split_commas)] = Field(
        ("json", "txt", "srt", "vtt", "tsv"),
        min_length=1,
        description="formats written for every transcript",
        json_schema_extra=OPTION,
    )

    marker: Annotated[str, AfterValidator(_no_format)] = Field(
        "",
        pattern=r"^[a-z]{0,8}$",
        description="ending of a file that is written when all others of a recording are whole, such as done",
    )

    engine: Annotated[str, AfterValidator(checked_engine)] = Field(
        AUTO, description="speech model; auto: the best one that this machine can run"
    )
    precision: Literal["auto", "bf16", "fp16", "fp32", "int8", "nf4"] = Field(
        "auto", description="number format of the model's weights"
    )
    model: str = Field(
        "",
        description="checkpoint: tiny, base, small, medium, large-v3 or turbo, a folder, or a Hugging Face id; "
        "empty: what fits this machine",
    )
    revision: str = Field(
        "", description="commit or tag of that id; empty: the verified one of a known checkpoint, else its newest"
    )
    engines: Annotated[tuple[Annotated[str, AfterValidator(_engine_of)], ...], BeforeValidator(split_commas)] = Field(
        (),
        description="models that `up` runs side by side, for folders that ask for them: vibevoice,whisper:small; "
        "empty: the one of `engine` and `model`",
    )
    folder_models: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = Field(
        (), description="checkpoints that folders may ask for, as the workers' own setting `model` calls them"
    )
    temperature: float = Field(0, ge=0, le=2, description="chance in the choice of words; 0: the likeliest word")
    repetition_penalty: float = Field(1, gt=0, le=2, description="above 1: words of the answer so far get less likely")
    max_new_tokens: int = Field(32_768, ge=1, le=32_768, description="longest answer to one chunk")
    language: str = Field(
        "",
        pattern=r"^([a-z]{2,3})?$",
        description="what is spoken, as a code (de), for engines that can be told; empty: they find out by themselves",
    )
    context: str = Field("", max_length=MAX_CONTEXT, description="names and topics that help the model to spell")
    hotwords: Path | None = Field(
        None,
        description="file of terms to add to the context: one a line or with commas between; # begins a comment",
        json_schema_extra=OPTION,
    )
    priority: Priority = Field(Priority.NORMAL, description="priority of recordings found by the watcher")
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
    min_confidence: float = Field(
        0.5, ge=0, le=1, description="quality check: lowest confidence of the model in its words; 0: any will do"
    )
    segment_slack_seconds: float = Field(
        0.5, ge=0, description="quality check: how far a segment may reach beyond its chunk"
    )
    channels: Literal["mix", "separate"] = Field(
        "mix",
        description="several channels are heard together (`mix`), or each is transcribed by itself and is one speaker "
        "(`separate`)",
    )
    tracks: Annotated[str, BeforeValidator(_as_text)] = Field(
        "speech",
        pattern=r"^(speech|all|[1-9][0-9]?(,[1-9][0-9]?)*)$",
        description="sound tracks that are heard: `speech` (all but commentary and other languages), `all`, or their "
        "numbers (`1,3`)",
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
    known_voices: bool = Field(
        False,
        description="name speakers who sound like an enrolled voice; such voices are biometric data",
    )
    model_slots: int = Field(
        0, ge=0, description="chunks that one model worker reads at once; 0: as many as fit its GPU"
    )
    gpu_share: float = Field(
        1, gt=0, le=1, description="part of a GPU's memory that one model worker may plan with; 0.45 for two on a card"
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

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level logged", json_schema_extra=OPTION
    )
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
    webhook_hosts: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = Field(
        (), description="hosts (or host:port) that folders may name as receivers of notifications of their own"
    )
    webhook_tries: int = Field(
        14, ge=1, description="how often a notification is tried, further and further apart; 14: for about five hours"
    )

    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of the metrics for Prometheus; more processes take the next; 0: none"
    )
    metrics_address: str = Field("127.0.0.1", min_length=1, description="address that the metrics are served at")

    own: Mapping[str, EngineSettings] = Field(default_factory=dict)  # of engines, by their names; no setting itself

    _remarks: tuple[str, ...] = PrivateAttr(())

    @property
    def remarks(self) -> tuple[str, ...]:
        """One sentence for each old name or value that they were given by."""
        return self._remarks

    def remember(self, remarks: Iterable[str]) -> Settings:
        """Keep these `remarks`; returns the settings themselves."""
        self._remarks = tuple(remarks)
        return self

    def of(self, group: type[Own]) -> Own:
        """The settings of the engine that declares this group."""
        found = self.own.get(group.engine)
        return found if isinstance(found, group) else group()

    def having(self, *own: EngineSettings) -> Settings:
        """These settings with those of engines."""
        return self.model_copy(update={"own": {**self.own, **{one.engine: one for one in own}}})

    def value(self, name: str) -> Any:
        """The value of a setting by its name in `fields`."""
        engine, _, own = name.rpartition(".")
        return getattr(self.of(groups()[engine]) if engine else self, own)

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'dropscribe.db'}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None for any other database."""
        return sqlite_file(self.database)

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
        """How long a process may go without a heartbeat before it is presumed dead, wherever that is asked."""
        return MISSED_BEATS * self.renew_seconds

    @property
    def spool_dir(self) -> Path:
        """Directory of decoded audio."""
        return self.spool or self.home / "spool"

    @property
    def scratch_dir(self) -> Path:
        """Directory for copies of sources while they are decoded; local to this machine."""
        return self.home / "scratch"

    def for_job(self, overrides: JobOverrides) -> Settings:
        """These settings with those that the folder of a recording has of its own.

        Raises SettingsError where a job was admitted with a value that there is not any more.
        """
        given = {name: value for name, value in overrides.given.items() if name in Settings.model_fields}
        own = validated(Settings, given)
        return self.model_copy(update={name: getattr(own, name) for name in given})

    def digest(self, context: str | None = None) -> str:
        """Hex digest of what shapes a transcript: equal content with an equal digest is a duplicate."""
        shaping: dict[str, Any] = {name: getattr(self, name) for name in SHAPING} | {
            "model": self.model or FIRST_MODEL,
            "context": self.context if context is None else context,
        }
        for group in groups().values():
            shaping |= self.of(group).shaping()
        shaping |= {name: value for name in LATER if (value := getattr(self, name)) != LATER[name]}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def fields() -> dict[str, FieldInfo]:
    """Every setting by its name; those of an engine are called `engine.name`."""
    own = {
        f"{engine}.{name}": field for engine, group in groups().items() for name, field in group.model_fields.items()
    }
    return {**{name: field for name, field in Settings.model_fields.items() if name != "own"}, **own}


def options() -> dict[str, FieldInfo]:
    """The settings that are options of the commands which transcribe: what shapes a transcript, and what says so."""
    return {name: field for name, field in fields().items() if name in {*SHAPING, *LATER} or _is_option(field)}


def _is_option(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and not {"digest", "option"}.isdisjoint(extra)


def job_options() -> dict[str, FieldInfo]:
    """Those of them that one recording may have for itself."""
    own = {*OF_A_JOB, "context", "hotwords"}
    return {name: field for name, field in options().items() if name in own}


def variable(name: str) -> str:
    """The environment variable of a setting, by its name in `fields`."""
    return PREFIX + name.replace(".", "_").upper()

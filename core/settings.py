"""Every setting, declared once: name, type, default, help. Those of a group are declared in a place of their own.

`core.settings_loading` reads them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import parse_qsl, urlsplit

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

from dropscribe.core.engine_settings import groups
from dropscribe.core.engines import AUTO
from dropscribe.core.engines import checked as checked_engine
from dropscribe.core.job_overrides import NAMES as OF_A_JOB
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.safe_text import printable
from dropscribe.core.settings_errors import validated
from dropscribe.core.settings_groups import SettingsGroup, marks_of, split_commas
from dropscribe.core.store_settings import PREFIX, RENEW_SECONDS, StoreSettings, default_home
from dropscribe.core.types import Priority, SpeechTask

# Settings that left the digest as it was, and the values that do so.
LATER: dict[str, Any] = {
    "known_voices": False, "channels": "mix", "tracks": "speech", "task": SpeechTask.TRANSCRIBE,
}  # fmt: skip
REQUESTS = "requests"  # in the spool; no job has that id, which is shorter
MAX_CONTEXT = 10_000  # characters, more than models take: at most some thousand tokens
FIRST_MODEL = "microsoft/VibeVoice-ASR-HF"  # what an empty `model` meant when the first transcripts were made

OutputFormat = Literal["json", "txt", "srt", "vtt", "tsv", "html", "md", "docx", "rttm"]
OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)

Own = TypeVar("Own", bound=SettingsGroup)


def _like(pattern: str, words: str) -> AfterValidator:
    """The whole value has to match; else it is said in words what it must be."""

    def check(value: str) -> str:
        """The value, if it has the form. Raises ValueError."""
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {words}")
        return value

    return AfterValidator(check)


def web_address(value: str) -> str:
    """The value, if it is empty or an address on the web. Raises ValueError.

    >>> web_address("https://example.org/hook")
    'https://example.org/hook'
    """
    fits: object = False
    with suppress(ValueError):
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    if value and (not fits or printable(value) != value or " " in value):
        raise ValueError("must be a web address that begins with https:// or http://")
    return value


# What in a Redis URL would let it be spoken to whatever certificate it shows, and the values that do not.
_CHECKS = {"ssl_cert_reqs": ("required", "CERT_REQUIRED"), "ssl_check_hostname": ("true", "True", "1", "yes")}


def _checks_certificates(url: str) -> str:
    """The URL, if it lets certificates be checked. Raises ValueError."""
    asked = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    if any(value not in _CHECKS.get(key, (value,)) for key, value in asked):
        raise ValueError("must not turn off the check of its certificate; name the authority by ssl_ca_certs=FILE")
    return url


def _no_format(ending: str) -> str:
    """The ending of a marker, if no transcript ends so. Raises ValueError."""
    if ending in OUTPUT_FORMATS:
        raise ValueError(f"{ending} is the ending of a transcript")
    return ending


def _network(entry: str) -> str:
    """An address or a network, as `ipaddress` writes it. Raises ValueError.

    >>> _network("10.0.0.5")
    '10.0.0.5/32'
    """
    return str(ip_network(entry))


def _engine_of(entry: str) -> str:
    """An entry of `engines`, if its engine exists. Raises ValueError.

    >>> _engine_of("whisper:turbo")
    'whisper:turbo'
    """
    checked_engine(entry.partition(":")[0])
    return entry


def _as_text(value: object) -> object:
    """A number as TOML writes it.

    >>> _as_text(2), _as_text("auto")
    ('2', 'auto')
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# What shapes a transcript, and so is part of `Settings.digest`; of engines' own settings, those that say so.
SHAPING = (
    "engine", "precision", "model", "revision", "temperature", "repetition_penalty", "max_new_tokens", "language",
    "context", "chunk_seconds", "chunk_target_seconds", "overlap_seconds", "speakers", "speaker_encoder",
)  # fmt: skip
NO_SETTINGS = frozenset({"own", "folders"})  # fields of `Settings` that are not settings
OPTION: dict[str, JsonValue] = {"option": True}  # it is an option of commands too, though it shapes no transcript


class Settings(StoreSettings, BaseModel):
    """All settings of one process; sizes in the unit that the name ends with.

    Those of a group are got by `of` and set by `having`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: Path = Field(default_factory=default_home, description="directory that holds all state")
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty: SQLite under home", json_schema_extra={"secret": True}
    )
    redis_url: Annotated[str, AfterValidator(_checks_certificates)] = Field(
        "",
        description="Redis URL, or that of its sentinels; empty: the private Redis that `up` starts",
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

    marker: Annotated[str, AfterValidator(_no_format), _like("[a-z]{0,8}", "up to eight small letters")] = Field(
        "",
        description="extension of a marker file that is written when all files of a recording are there, such as done",
    )

    output_mode: Annotated[str, _like("(0?[0-7]{3})?", "three digits from 0 to 7, such as 640")] = Field(
        "",
        description="file mode of transcripts, such as 640; empty: readable by those who can read the recording",
    )
    output_group: Annotated[str, _like(r"\S*", "the name or the number of a group, without spaces")] = Field(
        "",
        description="group of transcripts, by name or number; empty: that of the recording",
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
        "", description="commit or tag of that id; empty: the verified one of a known checkpoint, otherwise the newest"
    )
    engines: Annotated[tuple[Annotated[str, AfterValidator(_engine_of)], ...], BeforeValidator(split_commas)] = Field(
        (),
        description="models that `up` runs side by side, for folders that ask for them: vibevoice,whisper:small; "
        "empty: the model of `engine` and `model`",
    )
    folder_models: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = Field(
        (),
        description="checkpoints that folders and `submit` may ask for, named as in the workers' setting `model`",
    )
    temperature: float = Field(0, ge=0, le=2, description="sampling temperature; 0: always the likeliest token")
    repetition_penalty: float = Field(1, gt=0, le=2, description="values above 1 penalize tokens already generated")
    max_new_tokens: int = Field(
        32_768, ge=1, le=32_768, description="limit on the tokens that the model generates for one chunk"
    )
    language: Annotated[str, _like("([a-z]{2,3})?", "a code of two or three small letters, such as de")] = Field(
        "",
        description="spoken language, as a code (de), for engines that take one; empty: they detect it",
    )
    task: SpeechTask = Field(
        SpeechTask.TRANSCRIBE,
        description="translate: transcripts are in English, whatever is spoken; only Whisper can, except `turbo` "
        "and English-only checkpoints",
    )
    context: str = Field("", max_length=MAX_CONTEXT, description="names and topics that help the model to spell")
    hotwords: Path | None = Field(
        None,
        description="file of terms to add to the context, one on each line or separated by commas; # begins a comment",
        json_schema_extra=OPTION,
    )
    priority: Priority = Field(Priority.NORMAL, description="priority of recordings found by the watcher")
    speech_detector: Literal["silero", "energy"] = Field(
        "silero", description="voice activity detector; energy takes any sound for speech (for tests)"
    )

    duplicates: Literal["folder", "root", "fleet"] = Field(
        "root",
        description="where equal content is transcribed once: within a folder, a watched folder, or the whole fleet",
    )

    when_done: Literal["keep", "archive"] = Field(
        "keep", description="archive: move recordings into the folders done and failed beside them once their job ended"
    )
    status_page: bool = Field(
        False, description="keep a page _status.html in each watched folder, for people who have only the share"
    )

    join_parts: bool = Field(
        False, description="transcribe files that a recorder wrote in parts of one recording as one recording"
    )
    join_wait: float = Field(
        600, ge=0, description="seconds that a file which was cut off at its end waits for the next part"
    )

    stable_seconds: float = Field(10, ge=0, description="seconds without change after which a local file is complete")
    stable_seconds_network: float = Field(
        30, ge=0, description="seconds without change after which a file on a network filesystem is complete"
    )
    scan_seconds: float = Field(60, gt=0, description="longest time between two scans of a local folder")
    scan_seconds_network: float = Field(30, gt=0, description="longest time between two scans of a network folder")

    scan_deadline_seconds: float = Field(
        300, gt=0, description="seconds without progress after which a scan is given up"
    )

    chunk_seconds: float = Field(0, ge=0, description="longest chunk in seconds; 0: what the model can hold")
    chunk_target_seconds: float = Field(
        0,
        ge=0,
        description="target length of chunks in seconds; 0: split evenly over the workers, at least ten minutes each",
    )
    overlap_seconds: float = Field(
        30,
        ge=0,
        description="seconds that two neighbouring chunks share, so that no word and no speaker is lost at a cut",
    )
    min_chunk_seconds: float = Field(
        15, gt=0, description="a chunk that failed a quality check is halved and transcribed again down to this length"
    )
    max_halvings: int = Field(3, ge=0, le=6, description="how often a chunk may be halved")
    min_speech_coverage: float = Field(
        0.8, ge=0, le=1, description="quality check: share of the detected speech that segments must cover"
    )
    max_words_per_second: float = Field(7, gt=0, description="quality check: highest possible speech rate")
    min_confidence: float = Field(
        0.5, ge=0, le=1, description="quality check: lowest mean confidence of the model in its words; 0: not checked"
    )
    segment_slack_seconds: float = Field(
        0.5, ge=0, description="quality check: how far a segment may reach beyond its chunk"
    )
    channels: Literal["mix", "separate"] = Field(
        "mix",
        description="channels: `mix` transcribes all together, `separate` each by itself, as one speaker",
    )
    tracks: Annotated[
        str,
        BeforeValidator(_as_text),
        _like("speech|all|[1-9][0-9]?(,[1-9][0-9]?)*", "speech, all, or numbers of tracks, such as 1,3"),
    ] = Field(
        "speech",
        description="sound tracks to transcribe: `speech` (all except commentary and other languages), `all`, or their "
        "numbers (`1,3`)",
    )
    speakers: Annotated[
        str, BeforeValidator(_as_text), _like("auto|off|[1-9][0-9]?", "auto, off, or a number from 1 to 99")
    ] = Field(
        "auto",
        description="diarization: `auto`, the number of speakers if you know it, or `off`",
    )
    speaker_encoder: Literal["campplus", "none"] = Field(
        "campplus",
        description="model that computes embeddings of voices; `none`: only the engine distinguishes speakers",
    )
    known_voices: bool = Field(
        False,
        description="name speakers who sound like an enrolled voice; such voices are biometric data",
    )
    model_slots: int = Field(
        0, ge=0, description="chunks that one model worker transcribes at once; 0: as many as fit its GPU"
    )
    gpu_share: float = Field(
        1, gt=0, le=1, description="part of a GPU's memory that one model worker may plan with; 0.45 for two on a card"
    )
    cpu_slots: int = Field(
        0, ge=0, description="recordings that a CPU worker prepares at once; 0: one for each core, at most 4"
    )

    lease_seconds: float = Field(
        90, gt=0, description="seconds without renewal after which work goes to another worker"
    )
    renew_seconds: float = Field(
        RENEW_SECONDS, gt=0, description="how often a worker renews its lease and its heartbeat"
    )
    reconcile_seconds: float = Field(30, gt=0, description="seconds between two searches for lost work")
    resend_seconds: float = Field(15, gt=0, description="age in seconds from which a message may count as lost")
    missing_seconds: float = Field(120, ge=0, description="seconds that a missing file may take to come back")
    stall_seconds: float = Field(
        3600, gt=0, description="seconds without progress after which a model counts as hung and its worker restarts"
    )
    lost_attempts: int = Field(3, ge=1, description="worker crashes after which a recording is parked")
    failed_attempts: int = Field(3, ge=1, description="how often a failing step is tried before the job fails")
    circuit_breaker_failures: int = Field(
        5, ge=1, description="different recordings that fail in a row before a worker restarts itself (circuit breaker)"
    )

    spool_gb: float = Field(
        100,
        gt=0,
        description="GB of decoded audio that may wait for a model (0.1 GB an hour); beyond it, preparing pauses",
    )
    decode_hours: float = Field(24, gt=0, description="longest recording that is accepted")
    decode_memory_mb: int = Field(1024, ge=256, description="memory that decoding may take")
    decode_cpu_seconds: int = Field(7200, gt=0, description="CPU time that decoding may take")

    sandbox: Literal["require", "try", "off"] = Field(
        "try",
        description="close decoders off from this machine: `try`, as far as its kernel can; `require`, or the worker "
        "does not start; `off`",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged", json_schema_extra=OPTION
    )
    log_format: Literal["json", "text"] = Field("json", description="JSON lines for programs, text for people")

    webhook_url: Annotated[str, AfterValidator(web_address)] = Field(
        "",
        description="address that gets every final state by HTTP POST",
        json_schema_extra={"secret": True},
    )
    webhook_secret: str = Field(
        "", description="key that signs notifications; empty: not signed", json_schema_extra={"secret": "whole"}
    )
    webhook_hosts: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = Field(
        (), description="hosts (or host:port) to which folders may send their notifications"
    )
    webhook_tries: int = Field(
        14, ge=1, description="attempts at a notification, with growing pauses; 14: for about five hours"
    )

    on_done_seconds: float = Field(
        600, gt=0, description="time that a command of `on_done` may take, in the operator's tables for folders"
    )
    on_done_tries: int = Field(3, ge=1, description="attempts at such a command, with growing pauses")

    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of the metrics for Prometheus; further processes take the next ports; 0: off",
    )
    metrics_address: str = Field("127.0.0.1", min_length=1, description="address that the metrics are served at")

    serve: bool = Field(True, description="`up` starts the server with its pages; with `--drain` only if this is set")
    serve_browser: bool = Field(True, description="at a terminal with a display, `up` opens the page in a browser")
    serve_host: str = Field("127.0.0.1", min_length=1, description="address that the server listens at")
    serve_port: int = Field(8765, ge=0, le=65535, description="its port; 0: any that is free")
    serve_names: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = Field(
        (),
        description="names by which people reach the server, such as a proxy's; addresses and `localhost` always work",
    )
    serve_trust_own_user: bool = Field(
        True, description="processes of the server's own user need no token on its machine; never with `serve_names`"
    )
    serve_proxies: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(split_commas)] = (
        Field((), description="addresses or networks of proxies that name the user in a header: 10.0.0.5,10.1.0.0/24")
    )
    serve_user_header: Annotated[str, _like("[A-Za-z0-9-]+", "the name of a header")] = Field(
        "X-Forwarded-User", description="header in which they name the user; it is ignored from all other addresses"
    )
    serve_user_role: Literal["", "reader", "editor", "admin"] = Field(
        "", description="role of named users without a token of that name; empty: they are refused"
    )
    serve_requests: int = Field(600, ge=1, description="requests that one token may make in a minute")
    serve_waiting: int = Field(
        1000, ge=1, description="waiting recordings in the folders of a token above which it cannot upload"
    )
    serve_upload_gb: float = Field(4, gt=0, description="largest recording that may be uploaded")

    folders: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)  # tables of the file, by path; no setting
    own: Mapping[str, SettingsGroup] = Field(default_factory=dict)  # groups, by their tables; no setting itself

    _remarks: tuple[str, ...] = PrivateAttr(())
    _file: Path | None = PrivateAttr(None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """One sentence for each old name or value that they were given by."""
        return self._remarks

    @property
    def file(self) -> Path | None:
        """The settings file in force, if there is one."""
        return self._file

    def remember(self, remarks: Iterable[str], file: Path | None = None) -> Settings:
        """Keep these `remarks`, and which `file` was read; returns the settings themselves."""
        self._remarks, self._file = tuple(remarks), file
        return self

    def of(self, group: type[Own]) -> Own:
        """The settings of this group."""
        found = self.own.get(group.table)
        return found if isinstance(found, group) else group()

    def having(self, *own: SettingsGroup) -> Settings:
        """These settings with those of groups."""
        return self.model_copy(update={"own": {**self.own, **{one.table: one for one in own}}})

    def value(self, name: str) -> Any:
        """The value of a setting by its name in `fields`."""
        table, _, own = name.rpartition(".")
        return getattr(self.of(groups()[table]) if table else self, own)

    @property
    def fixed_slots(self) -> int:
        """Chunks at once of an engine that does not plan by the memory: `model_slots`, or 1."""
        return self.model_slots or 1

    @property
    def embeds_voices(self) -> bool:
        """Are speakers distinguished by embeddings?"""
        return self.speakers != "off" and self.speaker_encoder != "none"

    @property
    def people(self) -> int | None:
        """How many speak, where that is known."""
        return int(self.speakers) if self.speakers.isdigit() else None

    @property
    def spool_dir(self) -> Path:
        """Directory of decoded audio."""
        return self.spool or self.home / "spool"

    @property
    def requests_dir(self) -> Path:
        """Directory of recordings that programs send by the protocols of others, which every worker reaches."""
        return self.spool_dir.absolute() / REQUESTS

    @property
    def scratch_dir(self) -> Path:
        """Directory for copies of sources while they are decoded; local to this machine."""
        return self.home / "scratch"

    def for_job(self, overrides: JobOverrides) -> Settings:
        """These settings with those that the folder of a recording has of its own.

        Raises SettingsError where a job was admitted with a value that there is not any more.
        """
        return self.model_copy(update=own) if (own := _of_a_job(overrides)) else self

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


@lru_cache(maxsize=256)
def _of_a_job(overrides: JobOverrides) -> Mapping[str, Any]:
    """What the settings of its folder mean here, by name; every chunk asks. Raises SettingsError."""
    given = {name: value for name, value in overrides.given.items() if name in Settings.model_fields}
    own = validated(Settings, given)
    return {name: getattr(own, name) for name in given}


def fields() -> dict[str, FieldInfo]:
    """Every setting by its name; those of a group are called `table.name`."""
    own = {f"{table}.{name}": field for table, group in groups().items() for name, field in group.model_fields.items()}
    return {**{name: field for name, field in Settings.model_fields.items() if name not in NO_SETTINGS}, **own}


def options() -> dict[str, FieldInfo]:
    """The settings that are options of the commands which transcribe: what shapes a transcript, and what says so."""
    general, marks = {*SHAPING, *LATER}, {"digest", "option"}
    return {name: field for name, field in fields().items() if name in general or marks & marks_of(field).keys()}


def job_options() -> dict[str, FieldInfo]:
    """Those of them that one recording may have for itself."""
    own = {*OF_A_JOB, "context", "hotwords"}
    return {name: field for name, field in options().items() if name in own}


def variable(name: str) -> str:
    """The environment variable of a setting, by its name in `fields`.

    >>> variable("vibevoice.attention")
    'DROPSCRIBE_VIBEVOICE_ATTENTION'
    """
    return PREFIX + name.replace(".", "_").upper()

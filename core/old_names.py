"""Pure: names that changed. What dropscribe writes has both for one version; what it reads may have either.

docs/glossary.md lists them for users.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

UNTIL = "0.2"  # the version that knows the old names no longer

# Each table: old -> new.
SETTINGS = {
    "smallest_chunk_seconds": "min_chunk_seconds",
    "most_halvings": "max_halvings",
    "gate_coverage": "min_speech_coverage",
    "gate_words_per_second": "max_words_per_second",
    "gate_slack_seconds": "segment_slack_seconds",
    "unfit_failures": "circuit_breaker_failures",
    # Those of one engine, in the table of the file that has its name.
    "quantize": "vibevoice.quantize",
    "attention": "vibevoice.attention",
    "vibevoice.gpu_share": "gpu_share",
    "batching": "vibevoice.batching",
    "script": "scripted.script",
}
VALUES = {"when_done": {"move": "archive"}}  # by setting
GONE = {"engine": {"pocketsphinx": "whisper"}}  # values that are refused, by setting; each with the one to set instead
# Transcripts keep the old names as long as their schema is dropscribe.transcript/1.
TRANSCRIPT = {"missing": "uncovered_speech"}
SPEAKER = {"perhaps": "maybe_same"}
SEGMENT = {"quality": "confidence"}
JOB = {
    "missing": "uncovered_speech",
    "moving_to": "archiving_to",
    "read": "transcribed_seconds",
    "to_read": "total_chunk_seconds",
    "reading": "transcribing_chunks",
}
WORK = {"read": "transcribed_seconds"}
NOTIFICATION = {"missing": "uncovered_speech"}
# Kinds of events. The store keeps the old ones of jobs from before; JSON has them as `old_kind` beside `kind`.
EVENTS = {
    "reading": "transcribing",
    "read": "transcribed",
    "postponed": "deferred",
    "died": "crashed",
    "moved": "archived",
    "not_moved": "not_archived",
}
CHECKS = {"pace": "speech_rate", "budget": "max_new_tokens"}  # in events, and the label of a metric
# Steps in the JSON of `show` and `workers`, which has the old ones as `old_step` beside `step`.
STEPS = {"read": "transcribe", "reading": "transcribing"}
METRICS = {
    "dropscribe_waiting_audio_seconds": "dropscribe_backlog_audio_seconds",
    "dropscribe_failed_checks_total": "dropscribe_failed_quality_checks_total",
}


def with_old(document: Mapping[str, Any], old: Mapping[str, str]) -> dict[str, Any]:
    """The document with each value under its old name too; `old` leads from old names to new ones.

    >>> with_old({"confidence": 0.9}, {"quality": "confidence"})
    {'confidence': 0.9, 'quality': 0.9}
    """
    return {**document, **{before: document[after] for before, after in old.items()}}


def with_new(document: Mapping[str, Any], old: Mapping[str, str]) -> dict[str, Any]:
    """The document with each value under its new name too, where it has only the old one.

    >>> with_new({"quality": 0.9}, {"quality": "confidence"})
    {'quality': 0.9, 'confidence': 0.9}
    """
    only_old = {
        after: document[before] for before, after in old.items() if before in document and after not in document
    }
    return {**document, **only_old}


def current_value(setting: str, value: Any) -> Any:
    """What a value of a setting, which may be an old one, is called now."""
    return VALUES.get(setting, {}).get(value, value) if isinstance(value, str) else value


def refuse_gone(setting: str, value: Any) -> Any:
    """The value of a setting as it is. Raises ValueError, which names what to set instead, for one that is gone."""
    instead = GONE.get(setting, {}).get(value) if isinstance(value, str) else None
    if instead:
        raise ValueError(f"{value} is no longer part of dropscribe; use {instead}")
    return value


def current(name: str, old: Mapping[str, str] = MappingProxyType(EVENTS)) -> str:
    """What a name, which may be an old one, is called now.

    >>> current("split"), current("transcribed")
    ('split', 'transcribed')
    """
    return old.get(name, name)


def previous(name: str, old: Mapping[str, str]) -> str:
    """What a name was called before; the name itself where it has not changed.

    >>> previous("confidence", {"quality": "confidence"}), previous("text", {"quality": "confidence"})
    ('quality', 'text')
    """
    return next((before for before, after in old.items() if after == name), name)


def all_names(*names: str, old: Mapping[str, str] = MappingProxyType(EVENTS)) -> tuple[str, ...]:
    """These names, and those that they had before.

    >>> all_names("confidence", old={"quality": "confidence"})
    ('confidence', 'quality')
    """
    return (*names, *(before for before, after in old.items() if after in names))

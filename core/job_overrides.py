"""Pure: what the settings of its folder say of one job, which its row keeps as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from dropscribe.core import mappings, old_names

ARCHIVE = "archive"
STORED_ARCHIVE = "move"  # what rows have for it: its old name


@dataclass(frozen=True, slots=True)
class JobOverrides:
    """Settings of one job, None where the workers' own hold.

    `folder` is where its transcript goes, an absolute path. `other` are settings of another version of dropscribe,
    which are kept as they are.
    """

    language: str | None = None
    outputs: tuple[str, ...] | None = None
    engine: str | None = None
    precision: str | None = None
    model: str | None = None
    chunk_seconds: float | None = None
    speakers: str | None = None
    channels: str | None = None
    tracks: str | None = None
    task: str | None = None
    notify: str | None = None
    when_done: str | None = None
    folder: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def archives(self) -> bool:
        """Is the recording archived when its job has ended?"""
        return self.when_done == ARCHIVE

    @property
    def given(self) -> dict[str, Any]:
        """What they say, by name of the setting."""
        said = {name: getattr(self, name) for name in NAMES}
        return mappings.said(said) | dict(self.other)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON, which may have old values."""
        other = {name: old_names.current_value(name, value) for name, value in stored.items()}
        known: dict[str, Any] = {name: other.pop(name) for name in NAMES if name in other}
        if known.get("outputs") is not None:
            known["outputs"] = tuple(known["outputs"])
        return cls(**known, other=other)

    def stored(self) -> dict[str, Any]:
        """As JSON, from which `read` makes the same."""
        return self.given | ({"when_done": STORED_ARCHIVE} if self.archives else {})


NAMES = tuple(one.name for one in fields(JobOverrides) if one.name != "other")

"""What groups of settings have in common: each is a table of the settings file, declared in a place of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


def marks_of(field: FieldInfo) -> Mapping[str, Any]:
    """What a setting's declaration says besides type and description: `digest`, `added`, `option`, `secret`."""
    marks = field.json_schema_extra
    return marks if isinstance(marks, dict) else {}


def split_commas(value: object) -> object:
    """A list of a text with commas, as environment variables have it; anything else as it is.

    >>> split_commas("json, srt"), split_commas(["json"])
    (['json', 'srt'], ['json'])
    """
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def tables_above(folders: Iterable[str], source: str) -> list[str]:
    """The folders with a table of the operator that the recording at `source` lies in, the nearest last.

    >>> tables_above(["/rec/hr", "/rec", "/other"], "/rec/hr/talk.wav")
    ['/rec', '/rec/hr']
    """
    return sorted(filter(PurePath(source).is_relative_to, folders), key=lambda path: len(PurePath(path).parts))


class SettingsGroup(BaseModel):
    """Settings that the file has in a `table`.

    A field whose `json_schema_extra` has `digest` shapes transcripts: it is part of `Settings.digest` by that key. With
    `added`, its default is not, so that digests from before there was such a setting stay what they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    table: ClassVar[str]

    def shaping(self) -> dict[str, Any]:
        """The values that shape a transcript, by their keys in a digest."""
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            marks, value = marks_of(field), getattr(self, name)
            if "digest" in marks and not (marks.get("added") and value == field.default):
                found[marks["digest"]] = sorted(value) if isinstance(value, tuple) else value
        return found

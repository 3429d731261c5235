"""Pure: what people correct in a transcript, as single edits; each is about the transcript that the one before it left.

`dropscribe.worker.merging.corrections` applies them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, with_config

MAX_TEXT = 20_000  # characters of a segment
MAX_EDITS = 200  # in one revision
MAX_SEGMENT = 1_000_000_000
FILLED_IN = ("before", "at")  # of an edit by the server

SegmentIndex = Annotated[int, Field(ge=0, le=MAX_SEGMENT, description="a segment's number from 0, its `id`")]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class TextEdit:
    """What is said in a segment in truth; the same text confirms it, and an empty one says that nothing is.

    `before` is the text that it had, and `at` when the segment begins, in seconds: both as the store keeps them, for
    people who look at the history.
    """

    segment: SegmentIndex
    text: Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^[^\x00]*$", description="its whole text")]
    kind: Literal["text"] = "text"
    before: Annotated[str, Field(description="the previous text; the server fills it in")] = ""
    at: Annotated[float, Field(allow_inf_nan=False, description="seconds; the server fills it in")] = 0.0


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class SpeakerEdit:
    """Who speaks in a passage, from the segment `first` to the segment `last`.

    A number that is the first free one stands for somebody new, None for somebody who is not known.
    """

    first: SegmentIndex
    last: SegmentIndex
    speaker: Annotated[int, Field(ge=0, le=MAX_SEGMENT)] | None
    kind: Literal["speaker"] = "speaker"
    at: Annotated[float, Field(allow_inf_nan=False, description="seconds; the server fills it in")] = 0.0


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class SplitEdit:
    """A segment becomes two, before the word in which the character number `offset` of its text stands."""

    segment: SegmentIndex
    offset: Annotated[int, Field(ge=1, le=MAX_TEXT)]
    kind: Literal["split"] = "split"
    at: Annotated[float, Field(allow_inf_nan=False, description="seconds; the server fills it in")] = 0.0


Edit = TextEdit | SpeakerEdit | SplitEdit


@cache
def _adapter() -> TypeAdapter[tuple[Edit, ...]]:
    """What parses edits, made once."""
    return TypeAdapter(tuple[Annotated[Edit, Field(discriminator="kind")], ...])


def read(stored: Iterable[Mapping[str, Any]]) -> tuple[Edit, ...]:
    """The edits that `stored` made this of. Raises ValueError for anything else."""
    return _adapter().validate_python(tuple(stored))


def stored(edits: Iterable[Edit], *, bare: bool = False) -> list[dict[str, Any]]:
    """Edits as JSON; `bare` ones without what the server fills in."""
    left_out = FILLED_IN if bare else ()
    return [{name: value for name, value in asdict(edit).items() if name not in left_out} for edit in edits]


def summary(edits: Iterable[Edit]) -> str:
    """How many edits of each kind there are, without a word of what is said.

    >>> summary([TextEdit(0, "Hello."), TextEdit(1, "You."), SpeakerEdit(0, 3, 1)])
    '2 texts, 1 speaker'
    """
    kinds = [*map(attrgetter("kind"), edits)]
    counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in counted.items())

"""Errors of the system and of libraries become errors of ours, at the boundary where they come up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from dropscribe.core.disk_errors import cannot_write, why
from dropscribe.core.errors import DropscribeError

Kinds = type[Exception] | tuple[type[Exception], ...]


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its class where it says nothing.

    >>> first_line(RuntimeError("out of memory" + chr(10) + "a long trace")), first_line(MemoryError())
    ('out of memory', 'MemoryError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def translated(kinds: Kinds, into: Callable[[Any], Exception]) -> Iterator[None]:
    """Raise what `into` makes of an error of these kinds; that error is its cause.

    >>> with translated(ZeroDivisionError, into=lambda error: ValueError(f"no share of nothing: {error}")):
    ...     1 / 0
    Traceback (most recent call last):
    ValueError: no share of nothing: division by zero
    """
    try:
        yield
    except kinds as error:
        raise into(error) from error


def explained(
    kinds: Kinds, kind: type[DropscribeError], problem: str, *, remedy: str = ""
) -> AbstractContextManager[None]:
    """As `translated`, into an error of one `kind`: what the problem is, and after a colon the system's own words.

    >>> with explained(OSError, DropscribeError, "cannot read the script", remedy="name a file"):
    ...     open("/")
    Traceback (most recent call last):
    dropscribe.core.errors.DropscribeError: cannot read the script: Is a directory; name a file
    """
    return translated(kinds, into=lambda error: kind(f"{problem}: {why(error)}", remedy=remedy))


def writing(problem: str, advice: str) -> AbstractContextManager[None]:
    """As `explained`, where working files are written: into NoRoomError for want of room, else into SpoolError."""
    return translated(OSError, into=lambda error: cannot_write(f"{problem}: {why(error)}; {advice}", error))

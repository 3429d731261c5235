"""How many weights a model of CTranslate2 has, by the headers in its file, in whatever type they are. No torch.

A file is, in numbers of the machine: the version of the layout, the name and the revision of the model, how many
variables follow, and each of these: its name, how many dimensions and which, its type, its bytes and these bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

VERSIONS = range(4, 7)  # of the layout; Whisper came with 6
WORD, COUNT, SHORT = struct.Struct("=I"), struct.Struct("=B"), struct.Struct("=H")


def weights(path: Path) -> int | None:
    """The numbers of all variables; None where the file is not in a layout that is known here. Raises OSError."""
    with path.open("rb") as file:
        with suppress(struct.error):  # it ends before its headers say so
            if _number(file, WORD) not in VERSIONS:
                return None
            return sum(_variables(file))
        return None


def _variables(file: BinaryIO) -> Iterator[int]:
    """How many numbers each has; their bytes are passed over."""
    _pass_over(file, _number(file, SHORT))  # the model's name
    _number(file, WORD)
    for _ in range(_number(file, WORD)):
        _pass_over(file, _number(file, SHORT))
        dimensions = [_number(file, WORD) for _ in range(_number(file, COUNT))]
        _number(file, COUNT)
        _pass_over(file, _number(file, WORD))
        yield math.prod(dimensions)


def _number(file: BinaryIO, kind: struct.Struct) -> int:
    """The next number in the file."""
    number: int = kind.unpack(file.read(kind.size))[0]
    return number


def _pass_over(file: BinaryIO, count: int) -> None:
    """Pass over so many bytes."""
    file.seek(count, 1)

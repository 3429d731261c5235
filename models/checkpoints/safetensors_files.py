"""The safetensors files of a checkpoint: what their headers say, and whether they are whole. Pure Python, no torch."""

from __future__ import annotations

import json
import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain, starmap
from operator import attrgetter
from pathlib import Path
from typing import Any

from dropscribe.core.disk_errors import why
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import sizes

SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
LENGTH = struct.Struct("<Q")  # a file begins with the length of its header
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
ALIGNMENT = 8  # bytes; the header is padded with blanks, so that what follows is aligned for every dtype
# Bits, since some formats are narrower than a byte.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `begin` and `end` are bytes from the end of its file's header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """Its numbers."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Shard:
    """One file: its tensors in their order in the file, where they begin, and what else the header says."""

    path: Path
    start: int
    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sizes.total(self.tensors)


def tensors(shards: Iterable[Shard]) -> list[Tensor]:
    """The tensors of all files."""
    return [*chain.from_iterable(map(attrgetter("tensors"), shards))]


def files(folder: Path) -> list[Path]:
    """All safetensors files below a folder, hidden folders left out."""
    found = filter(Path.is_file, folder.rglob(f"*{SUFFIX}"))
    return sorted(path for path in found if not hidden(path.relative_to(folder)))


def is_one(path: Path) -> bool:
    """True for the name of such a file.

    >>> is_one(Path("model.safetensors")), is_one(Path("model.bin"))
    (True, False)
    """
    return path.suffix == SUFFIX


def indices(folder: Path) -> list[Path]:
    """All indices below a folder, which say what tensor is in what file beside them."""
    return sorted(path for path in folder.rglob(f"*{INDEX_SUFFIX}") if not hidden(path.relative_to(folder)))


def hidden(path: Path) -> bool:
    """Does the path, or a folder on its way, begin with a dot, as those of git and of a download do?"""
    return any(part.startswith(".") for part in path.parts)


def read(path: Path) -> Shard:
    """The header of a file, which is held against the file's size.

    Raises ModelUnavailableError when the file cannot be read, is cut off, or is not a safetensors file.
    """
    with whole(path, OSError, ValueError, TypeError):
        size = path.stat().st_size
        with path.open("rb") as file:
            start, header = _header(file.read(LENGTH.size), size, file.read)
    try:
        metadata = header.pop("__metadata__", {})
        tensors = sorted(starmap(_tensor, header.items()), key=attrgetter("begin", "end"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(path, "its header is not a safetensors header") from error
    shard = Shard(path, start, tuple(tensors), metadata)
    if fault := _fault(shard, size):
        raise broken(path, fault)
    return shard


def _header(prefix: bytes, size: int, read_on: Any) -> tuple[int, dict[str, Any]]:
    """Where the tensors begin, and the header itself. Raises ValueError, TypeError if it is not such a file."""
    if len(prefix) < LENGTH.size:
        raise ValueError(f"it has only {size} bytes")
    (length,) = LENGTH.unpack(prefix)
    if length > min(MAX_HEADER, size - LENGTH.size):
        raise ValueError("its header is cut off, or it is not a safetensors file")
    header = json.loads(read_on(length))
    if not isinstance(header, dict):
        raise TypeError("its header is not a safetensors header")
    return LENGTH.size + length, header


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    """An entry of the header."""
    begin, end = map(int, entry["data_offsets"])
    return Tensor(
        name=name,
        dtype=str(entry["dtype"]),
        shape=tuple(map(int, entry["shape"])),
        begin=begin,
        end=end,
    )


def _fault(shard: Shard, size: int) -> str:
    """What is wrong between header and file, empty if nothing: tensors follow each other without a gap to its end."""
    at = 0
    for tensor in shard.tensors:
        bits = BITS.get(tensor.dtype)
        if bits and tensor.size != -(-tensor.count * bits // 8):
            return f"{tensor.name} has {tensor.size:,} bytes, and its shape takes {-(-tensor.count * bits // 8):,}"
        if tensor.begin != at:
            return f"{tensor.name} begins at {tensor.begin:,}, and what is before it ends at {at:,}"
        at = tensor.end
    if shard.start + at != size:
        return f"it has {size:,} bytes, and its header says {shard.start + at:,}"
    return ""


def broken(path: Path, why: str) -> ModelUnavailableError:
    """What to say of a file that cannot be used as it is."""
    return ModelUnavailableError(f"{path} is broken: {why}", remedy="fetch it again")


def whole(path: Path, *kinds: type[Exception]) -> AbstractContextManager[None]:
    """A block that reads a file: an error of these kinds says that the file is `broken`."""
    return translated(kinds, into=lambda error: broken(path, why(error)))


def read_index(path: Path) -> dict[str, Any]:
    """An index: `weight_map` from names of tensors to names of files. Raises ModelUnavailableError."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        index["weight_map"] = {str(name): str(file) for name, file in index["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise broken(path, f"it is not an index ({error})") from error
    return dict(index)


def missing(folder: Path, shards: Iterable[Shard]) -> Iterator[str]:
    """What the indices of a folder name and its files lack, a sentence each. Raises ModelUnavailableError."""
    held = {shard.path: set(map(attrgetter("name"), shard.tensors)) for shard in shards}
    for path in indices(folder):
        lacking = defaultdict[str, list[str]](list)
        for tensor, name in read_index(path)["weight_map"].items():
            if tensor not in held.get(path.parent / name, ()):
                lacking[name].append(tensor)
        for name, tensors in sorted(lacking.items()):
            what = "lacks" if path.parent / name in held else "is not there or broken, which should hold"
            yield f"{name} {what} {len(tensors)} tensors that {path.name} names, the first {tensors[0]}"


def header(tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str]) -> bytes:
    """The beginning of a file of (name, dtype, shape, bytes) in this order."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, dtype, shape, size in tensors:
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return LENGTH.pack(len(text)) + text

"""Writes tensors one after the other into safetensors files of bounded size, with an index. Pure Python, no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import safetensors_files, sizes
from dropscribe.models.checkpoints.safetensors_files import BITS

LARGEST = 300_000_000  # bytes of tensors in a file, unless a single tensor has more; quantized ones wait in memory
READ_BACK = "what was written reads back differently"


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor to write: its dtype by safetensors' name, its bytes, and what yields them when they are wanted."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    blocks: Callable[[], Iterable[memoryview]]


class Writer:
    """`add` what belongs together, then `close`; then `check` that the disk has it."""

    def __init__(self, folder: Path) -> None:
        """Write into a folder that has no weights yet."""
        self._folder = folder
        self._waiting: list[Entry] = []
        self._written: list[_File] = []

    def add(self, entries: Sequence[Entry]) -> None:
        """Tensors that come into the same file. Raises OSError."""
        if self._waiting and sizes.total([*self._waiting, *entries]) > LARGEST:
            self._flush()
        self._waiting += entries

    def close(self) -> int:
        """Write what is left, name the files as transformers does, write the index; returns how many files there are.

        Raises OSError.
        """
        self._flush()
        count = len(self._written)
        for number, file in enumerate(self._written, 1):
            name = (
                f"model-{number:05}-of-{count:05}{safetensors_files.SUFFIX}"
                if count > 1
                else f"model{safetensors_files.SUFFIX}"
            )
            file.path = file.path.rename(self._folder / name)
        if count > 1:
            self._write_index()
        return count

    def check(self) -> None:
        """Raises ModelUnavailableError when a file reads back differently."""
        for written in self._written:
            with written.path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != written.digest:
                    raise ModelUnavailableError(
                        f"{READ_BACK}: {written.path.name}", remedy="check the disk and try again"
                    )

    def _flush(self) -> None:
        """Write what waits as the next shard, and note its digest."""
        entries = sorted(self._waiting, key=lambda entry: -BITS[entry.dtype])  # the widest first: each is aligned
        header = safetensors_files.header(map(attrgetter("name", "dtype", "shape", "size"), entries), {"format": "pt"})
        digest = hashlib.sha256(header)
        path = self._folder / f"{len(self._written)}{safetensors_files.SUFFIX}"
        with path.open("wb") as file:
            file.write(header)
            for entry in entries:
                for block in entry.blocks():
                    file.write(block)
                    digest.update(block)
        self._written.append(_File(path, digest.hexdigest(), [*map(attrgetter("name"), entries)], sizes.total(entries)))
        self._waiting = []

    def _write_index(self) -> None:
        """Write which tensor is in which shard."""
        index = {
            "metadata": {"total_size": sizes.total(self._written)},
            "weight_map": {name: file.path.name for file in self._written for name in file.tensors},
        }
        place = self._folder / f"model{safetensors_files.INDEX_SUFFIX}"
        place.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@dataclass(slots=True)
class _File:
    """What was written; its tensors' bytes are gone."""

    path: Path
    digest: str
    tensors: list[str]
    size: int

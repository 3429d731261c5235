"""Another number format for a checkpoint: tensor by tensor, in bounded memory, whatever the model is.

It knows tensors by their names only, so every architecture in safetensors will do. A file of the source becomes one
of the copy. What would overflow is found before anything is written, as the sizes in a file's header come first.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, filterfalse
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import BinaryIO

import torch

from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models.checkpoints import convert_plan, hub_cache, new_folder, safetensors_files, sizes
from dropscribe.models.checkpoints.convert_plan import Planned, Rules
from dropscribe.models.checkpoints.safetensors_files import Shard, Tensor
from dropscribe.models.progress import Tell

TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
PIECE = 16_000_000  # bytes of a tensor in memory at a time; a multiple of every width
MARGIN = 1_000_000  # bytes: headers, and what a disk rounds up

Warn = Callable[[str], None]
Check = Callable[[Path, Path, "Copied"], None]


@dataclass(frozen=True, slots=True)
class Overflow:
    """A tensor that kept its dtype: `count` of its numbers are too large for the wanted one, the largest is `most`."""

    name: str
    dtype: str
    count: int
    most: float

    def __str__(self) -> str:
        """For people."""
        return f"{self.name} ({self.count} of its numbers, up to {self.most:.3g})"


@dataclass(frozen=True, slots=True)
class Copied:
    """What was written. Sizes in bytes, of the weights alone for `weights` (source and copy).

    `vanished` numbers are too small for fp16 and became zero. `left_out` are files with other copies of the weights.
    """

    source: str
    revision: str
    folder: Path
    dtype: str
    mixed: bool
    tensors: int
    changed: int
    fp32: int
    dtypes: dict[str, int]
    overflows: tuple[Overflow, ...]
    vanished: int
    source_weights: int
    weights: int
    left_out: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class SourceCheckpoint:
    """A checkpoint that is to be converted: its weights, the other files that go along, and those that do not."""

    name: str
    folder: Path
    revision: str
    weights: tuple[Shard, ...]
    others: tuple[Path, ...]
    left_out: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sizes.total(self.weights)


def convert(
    name: str,
    destination: Path,
    rules: Rules,
    *,
    revision: str = "",
    tell: Tell,
    warn: Warn,
    check: Check | None = None,
) -> Copied:
    """Write a copy of a checkpoint (a folder, or an id that is in the cache) in another number format.

    It gets its name when it is complete and on the disk, and `check(source, copy, what was written)`, if given, did
    not raise. `tell` hears of the progress, `warn` of what the user might not want.

    Raises UsageError for a source that is not here or a destination that is taken, and ModelUnavailableError when
    the source cannot be used, the disk is too small, or the copy cannot be written.
    """
    began = time.monotonic()
    target = new_folder.vacant(destination)
    source = examine(name, revision)
    if target.is_relative_to(source.folder):
        raise UsageError(f"{destination} lies in {name} itself", remedy="name another folder")
    _check_rules(source, rules)
    beside = sizes.of_files(source.others) + MARGIN
    new_folder.require_room(target.parent, beside + _size(_plan(source, rules, ())))
    overflows = tuple(_overflows(source, rules, tell))
    plan = _plan(source, rules, set(map(attrgetter("name"), overflows)))
    new_folder.require_room(target.parent, beside + _size(plan))
    for sentence in _doubts(source, rules, plan, overflows):
        warn(sentence)
    with new_folder.beside(target) as folder:
        with translated(OSError, into=partial(new_folder.unwritable, target)):
            vanished = _write(source, folder, plan, rules, tell)
        copied = _summary(source, target, rules, plan, overflows, vanished, time.monotonic() - began)
        if check:
            check(source.folder, folder, copied)
        new_folder.settle(folder, target)
    return copied


def examine(name: str, revision: str) -> SourceCheckpoint:
    """A checkpoint with every header read. Raises UsageError and ModelUnavailableError."""
    folder, commit = hub_cache.locate(name, revision)
    weights = tuple(map(safetensors_files.read, safetensors_files.files(folder)))
    _require_whole(name, folder, weights)
    there = filter(Path.is_file, folder.rglob("*"))
    beside = sorted(path for path in there if not safetensors_files.hidden(path.parent.relative_to(folder)))
    others = filterfalse(_is_other_weights, filterfalse(safetensors_files.is_one, beside))
    left_out = (str(path.relative_to(folder)) for path in filter(_is_other_weights, beside))
    return SourceCheckpoint(
        name=name,
        folder=folder,
        revision=commit,
        weights=weights,
        others=tuple(others),
        left_out=tuple(left_out),
    )


def _require_whole(name: str, folder: Path, weights: tuple[Shard, ...]) -> None:
    """Raises ModelUnavailableError unless all weights are there, and are not quantized."""
    if not weights:
        raise ModelUnavailableError(hub_cache.without_weights(folder))
    if lacking := next(safetensors_files.missing(folder, weights), ""):
        raise ModelUnavailableError(f"{name} is not complete: {lacking}", remedy="fetch it again")
    if kind := hub_cache.quantization(hub_cache.read_config(folder)):
        raise ModelUnavailableError(f"{name} is quantized ({kind})", remedy="name the checkpoint that it was made from")


def _is_other_weights(path: Path) -> bool:
    """Are these weights in another format?"""
    return any(map(path.match, hub_cache.OTHER_WEIGHTS))


def _check_rules(source: SourceCheckpoint, rules: Rules) -> None:
    """Raise UsageError for a pattern that fits no tensor, and where there is nothing to convert."""
    tensors = safetensors_files.tensors(source.weights)
    convert_plan.check_patterns(rules.keep, set(map(attrgetter("name"), tensors)))
    if all(tensor.dtype == convert_plan.wanted(tensor, rules) for tensor in tensors):
        raise UsageError(f"{source.name} is in {rules.dtype} already", remedy="there is nothing to convert")


Plan = list[tuple[Shard, tuple[Planned, ...]]]


def _plan(source: SourceCheckpoint, rules: Rules, too_large: set[str] | tuple[()]) -> Plan:
    """Which number format each tensor of each file gets."""
    return [(shard, convert_plan.arrange(shard, rules, too_large)) for shard in source.weights]


def _size(plan: Plan) -> int:
    """Bytes of the copy's weights."""
    return sizes.total(_planned(plan))


def _overflows(source: SourceCheckpoint, rules: Rules, tell: Tell) -> Iterator[Overflow]:
    """Look at all numbers of tensors that get a narrower range."""
    plan = [(shard, one) for shard, planned in _plan(source, rules, ()) for one in planned if one.narrows]
    total, done = sum(one.tensor.size for _, one in plan), 0
    buffer = bytearray(PIECE)
    for shard, one in plan:
        count, most = 0, 0.0
        for piece in pieces(shard, one.tensor, buffer):
            found, largest = _overflowing(piece, TORCH[one.dtype])
            count, most = count + found, max(most, largest)
            done += piece.nbytes
            tell("searching for numbers that are too large", done, total)
        if count:
            yield Overflow(one.tensor.name, one.tensor.dtype, count, most)


def _overflowing(piece: torch.Tensor, dtype: torch.dtype) -> tuple[int, float]:
    """How many of these numbers, of any shape, are too large for a narrower dtype, and the size of the largest."""
    limit = torch.finfo(dtype).max
    low, high = map(float, piece.aminmax())
    if low >= -limit and high <= limit:  # never so with NaN
        return 0, 0.0
    sizes = piece[piece.isfinite() & piece.to(dtype).isinf()].double().abs()
    return sizes.numel(), float(sizes.max()) if sizes.numel() else 0.0


def pieces(shard: Shard, tensor: Tensor, buffer: bytearray) -> Iterator[torch.Tensor]:
    """The numbers of a tensor in their order, of shape (count,), as many at a time as the buffer takes.

    They have the tensor's dtype, uint8 if we have no such dtype. Each piece is gone with the next.

    Raises ModelUnavailableError when the file cannot be read.
    """
    left = tensor.size
    with safetensors_files.whole(shard.path, OSError), shard.path.open("rb") as file:
        file.seek(shard.start + tensor.begin)
        while left:
            view = memoryview(buffer)[: min(left, len(buffer))]
            if file.readinto(view) < len(view):
                raise safetensors_files.broken(shard.path, f"it ends in the middle of {tensor.name}")
            yield torch.frombuffer(view, dtype=TORCH.get(tensor.dtype, torch.uint8))
            left -= len(view)


def _planned(plan: Plan) -> list[Planned]:
    """What becomes of each tensor, of all files."""
    return [*chain.from_iterable(map(itemgetter(1), plan))]


def _fp32(planned: Iterable[Planned]) -> int:
    """How many tensors get 32 bits."""
    return sum(one.dtype == "F32" for one in planned)


def _doubts(source: SourceCheckpoint, rules: Rules, plan: Plan, overflows: tuple[Overflow, ...]) -> Iterator[str]:
    """What about the copy is not as somebody may expect, a sentence each."""
    if (larger := _size(plan) - source.size) > 0:
        planned = _planned(plan)
        way_out = " (--no-mixed avoids this, unless --keep-fp32 asks for it)" if rules.dtype != "fp32" else ""
        yield (
            f"the copy is {larger / 1e6:,.2f} MB larger than its source ({source.size / 1e9:.2f} GB): "
            f"{_fp32(planned)} of {len(planned)} tensors are in fp32{way_out}"
        )
    if overflows:
        shown = ", ".join(map(str, overflows[:3]))
        more = f" and {len(overflows) - 3} more" if len(overflows) > 3 else ""
        yield f"{len(overflows)} tensors are too large for {rules.dtype} and stay as they are: {shown}{more}"
    if source.left_out:
        yield f"left out, because they hold weights in other formats: {', '.join(source.left_out[:6])}"


def _write(source: SourceCheckpoint, folder: Path, plan: Plan, rules: Rules, tell: Tell) -> int:
    """Everything into a folder; returns how many numbers became zero."""
    copy_others(source, folder)
    if (folder / "config.json").is_file():
        config = convert_plan.with_dtype(hub_cache.read_config(folder), rules.dtype)
        _write_json(folder / "config.json", config)
    for path in safetensors_files.indices(folder):
        _rewrite_index(path, {folder / shard.path.relative_to(source.folder): planned for shard, planned in plan})
    vanished, done, total = 0, 0, source.size
    buffer = bytearray(PIECE)
    for shard, planned in plan:
        place = folder / shard.path.relative_to(source.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            for read, lost in _write_shard(file, shard, planned, buffer):
                done, vanished = done + read, vanished + lost
                tell("writing", done, total)
    return vanished


def copy_others(source: SourceCheckpoint, folder: Path, without: str = "\0") -> None:
    """Files beside the weights, but none whose name ends with `without`. Raises OSError."""
    for path in source.others:
        if not path.name.endswith(without):
            place = folder / path.relative_to(source.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _write_shard(
    file: BinaryIO, shard: Shard, planned: tuple[Planned, ...], buffer: bytearray
) -> Iterator[tuple[int, int]]:
    """Yields for each piece the bytes that were read and the numbers that became zero."""
    metadata = {"format": "pt"} | dict(shard.metadata)
    entries = map(attrgetter("tensor.name", "dtype", "tensor.shape", "size"), planned)
    file.write(safetensors_files.header(entries, metadata))
    for one in planned:
        for piece in pieces(shard, one.tensor, buffer):
            changed = piece if one.dtype == one.tensor.dtype else piece.to(TORCH[one.dtype])
            file.write(changed.view(torch.uint8).numpy().data)
            yield piece.nbytes, _vanished(piece, changed) if one.narrows else 0


def _vanished(piece: torch.Tensor, changed: torch.Tensor) -> int:
    """How many numbers became zero; weights hardly ever are, so that one look is enough as a rule."""
    left = int(changed.count_nonzero())
    return 0 if left == changed.numel() else int(piece.count_nonzero()) - left


def _rewrite_index(path: Path, plan: dict[Path, tuple[Planned, ...]]) -> None:
    """Write an index with the size that its files will have together."""
    index = safetensors_files.read_index(path)
    of_it = set(map(path.parent.joinpath, index["weight_map"].values()))
    size = sizes.total(chain.from_iterable(plan[file] for file in of_it))
    index["metadata"] = (index.get("metadata") or {}) | {"total_size": size}
    _write_json(path, index)


def _write_json(path: Path, document: object) -> None:
    """Write a document as the libraries around checkpoints do."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _summary(
    source: SourceCheckpoint,
    target: Path,
    rules: Rules,
    plan: Plan,
    overflows: tuple[Overflow, ...],
    vanished: int,
    seconds: float,
) -> Copied:
    """What was done, in numbers."""
    planned = _planned(plan)
    return Copied(
        source=source.name,
        revision=source.revision,
        folder=target,
        dtype=rules.dtype,
        mixed=rules.mixed,
        tensors=len(planned),
        changed=sum(one.dtype != one.tensor.dtype for one in planned),
        fp32=_fp32(planned),
        dtypes=convert_plan.bytes_by_dtype(map(attrgetter("dtype", "size"), planned)),
        overflows=overflows,
        vanished=vanished,
        source_weights=source.size,
        weights=_size(plan),
        left_out=source.left_out,
        seconds=seconds,
    )

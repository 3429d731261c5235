"""Which number format each tensor of a checkpoint gets: by its name, its shape, and what it was. Pure, no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import repeat
from typing import Any

from dropscribe.core.errors import UsageError
from dropscribe.models.checkpoints.safetensors_files import BITS, Shard, Tensor

DTYPES = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}  # of safetensors, by our names
CONFIG_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}  # of a config.json
BY_RANGE = ("F16", "BF16", "F32", "F64")  # each holds every magnitude that those before it hold
# One part of a tensor's name. Layer scales (`gamma`) begin at 1e-6, where fp16 has three digits left of its ten bits.
SCALE = re.compile(r"norm|(^|_)rms|^ln(_|\d|$)|(^|_)gamma$")


@dataclass(frozen=True, slots=True)
class Rules:
    """The wanted format, `fp16`, `bf16` or `fp32`; are scales kept in fp32; globs or words of names that are, too."""

    dtype: str
    mixed: bool = True
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor and the dtype that it gets."""

    tensor: Tensor
    dtype: str

    @property
    def size(self) -> int:
        """Bytes of the copy; in a dtype that is not ours the source's."""
        return self.tensor.size if self.dtype == self.tensor.dtype else self.tensor.count * BITS[self.dtype] // 8

    @property
    def narrows(self) -> bool:
        """A number may be too large for its new dtype."""
        return self.dtype != self.tensor.dtype and BY_RANGE.index(self.dtype) < BY_RANGE.index(self.tensor.dtype)


def is_scale(tensor: Tensor) -> bool:
    """Normalization weights, layer scales and single numbers: hardly any bytes, and every activation passes them."""
    if len(tensor.shape) > 1:
        return False
    return not tensor.shape or any(map(SCALE.search, tensor.name.lower().split(".")))


def matches(name: str, pattern: str) -> bool:
    """Whether a tensor is meant: by a glob of its whole name, or by a bare word that is somewhere in it.

    >>> matches("model.norm.weight", "norm"), matches("model.norm.weight", "norm*")
    (True, False)
    """
    return fnmatchcase(name, pattern if re.search(r"[*?[]", pattern) else f"*{pattern}*")


def wanted(tensor: Tensor, rules: Rules) -> str:
    """The dtype that the rules give a tensor. Tensors of other kinds stay as they are."""
    if tensor.dtype not in BY_RANGE:
        return tensor.dtype
    if any(map(matches, repeat(tensor.name), rules.keep)) or (rules.mixed and is_scale(tensor)):
        return "F32"
    return DTYPES[rules.dtype]


def arrange(shard: Shard, rules: Rules, too_large: Collection[str] = ()) -> tuple[Planned, ...]:
    """The tensors of a file in the order of the copy, the widest first, so that each is aligned.

    Those named in `too_large` have numbers that the wanted dtype cannot hold, and keep their own.
    """
    planned = (
        Planned(tensor, tensor.dtype if tensor.name in too_large else wanted(tensor, rules)) for tensor in shard.tensors
    )
    return tuple(sorted(planned, key=lambda one: -BITS.get(one.dtype, 64)))


def check_patterns(patterns: Iterable[str], tensors: Collection[str]) -> None:
    """Raises UsageError for a glob or a word that matches no tensor, with some names that there are."""
    for pattern in patterns:
        if not any(map(matches, tensors, repeat(pattern))):
            word = re.compile("|".join(re.findall(r"\w{3,}", pattern)))
            like = [*filter(word.search, sorted(tensors))] or sorted(tensors)
            raise UsageError(f"no tensor is called like {pattern}", remedy=f"there are {', '.join(like[:3])} ...")


def bytes_by_dtype(planned: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Bytes of each dtype, the most first.

    >>> bytes_by_dtype([("F32", 4), ("BF16", 8), ("F32", 2)])
    {'BF16': 8, 'F32': 6}
    """
    sums: Counter[str] = Counter()
    for dtype, size in planned:
        sums[dtype] += size
    return dict(sums.most_common())


def with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """A config.json that names the dtype, also in its parts; one that named none gets it."""
    changed = _renamed(config, CONFIG_DTYPES[dtype])
    if not {"dtype", "torch_dtype"} & changed.keys():
        changed["torch_dtype"] = CONFIG_DTYPES[dtype]  # which old and new transformers read
    return changed


def _renamed(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config with another number format, in all its parts."""
    return {key: _value(key, value, name) for key, value in config.items()}


def _value(key: str, value: Any, name: str) -> Any:
    """A value of a config; where it names the number format, the new one."""
    if isinstance(value, dict):
        return _renamed(value, name)
    return name if key in {"dtype", "torch_dtype"} and isinstance(value, str) else value

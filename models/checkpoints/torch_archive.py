"""The tensors of a file that `torch.save` wrote, read without torch: a zip of one pickle and one member a storage.

A pickle can run any program. This one may build dictionaries and tensors; whatever else it names is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError

FLOAT32, INT64 = "<f4", "<i8"  # as numpy names them, little-endian
_STORAGES = {"FloatStorage": FLOAT32, "LongStorage": INT64}
_SIZES = {FLOAT32: 4, INT64: 8}  # bytes of a number
# What a pickle that is broken, or made to break its reader, raises.
_BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor: `dtype` as numpy names it, `shape`, and its numbers in C order as bytes."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


def read(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a state dict by their names, in its order. Only float32 and int64 are read.

    Raises ModelUnavailableError if the file is not a state dict, or its pickle asks for anything else.
    """
    with explained(_BROKEN, ModelUnavailableError, f"{path.name} is not a checkpoint that can be read safely"):
        with zipfile.ZipFile(path) as archive:
            [name] = [one for one in archive.namelist() if one.endswith("/data.pkl")]
            found = _Unpickler(archive, name).load()
        if not isinstance(found, Mapping):
            raise pickle.UnpicklingError("it holds no dictionary")
        return {str(key): _tensor(key, value) for key, value in found.items()}


def _tensor(key: object, value: object) -> StoredTensor:
    """An entry of the state dict. Raises pickle.UnpicklingError if it is not a tensor."""
    if not isinstance(value, StoredTensor):
        raise pickle.UnpicklingError(f"{key} is a {type(value).__name__} and no tensor")
    return value


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    content: bytes


class _Unpickler(pickle.Unpickler):
    """Knows three names, and none of them does more than build a value."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__(io.BytesIO(archive.read(name)))
        self._archive = archive
        self._storages = f"{name.removesuffix('data.pkl')}data/"

    def find_class(self, module: str, name: str) -> Any:
        """Raises pickle.UnpicklingError for every name but the known ones."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage by `("storage", dtype, member, device, count)`."""
        kind, dtype, member, _, count = pid
        content = self._archive.read(f"{self._storages}{member}")
        if kind != "storage" or len(content) != count * _SIZES[dtype]:
            raise pickle.UnpicklingError(f"the storage {member} is not as long as the pickle says")
        return _Storage(dtype, content)


def _rebuild(storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> StoredTensor:
    """The tensor that lies from `offset` on in a storage; its numbers must lie one after the other."""
    if tuple(strides) != tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))):
        raise pickle.UnpicklingError("a tensor's numbers do not lie one after the other")
    size = _SIZES[storage.dtype]
    content = storage.content[offset * size : (offset + math.prod(shape)) * size]
    if min((offset, *shape), default=0) < 0 or len(content) != math.prod(shape) * size:
        raise pickle.UnpicklingError("a tensor is longer than its storage")
    return StoredTensor(storage.dtype, tuple(shape), content)


# What a pickle may ask for, by module and name.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}

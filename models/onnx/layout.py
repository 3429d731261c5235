"""What lies in the folder of an export, and the manifest that says so. No torch, no ONNX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import sizes
from dropscribe.models.vibevoice.prompt import Wording

FORMAT = 1  # of the manifest and of the graphs' inputs and outputs
MANIFEST = "dropscribe-onnx.json"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
DATA_SUFFIX = ".data"  # of the file beside a graph that holds its weights
OPSET = 20


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph; a dimension is a number, or a name where it varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A file and what goes in and comes out."""

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class File:
    """Bytes, and SHA-256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """An export.

    `dtype` is the format of the language model's layers, `encoder_dtype` that of the encoders; `block_size` weights
    share a scale under int4, else it is 0. `hop` samples become a token; ids from `vocabulary` on are tokens of audio.
    `ends` are the tokens that end an answer.
    """

    source: str
    revision: str
    dtype: str
    encoder_dtype: str
    block_size: int
    opset: int
    hop: int
    vocabulary: int
    ends: tuple[int, ...]
    wording: Wording
    graphs: Mapping[str, Graph] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As it is written."""
        return {"format": FORMAT} | asdict(self)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sizes.total(self.files.values())

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return sum(file.size for name, file in self.files.items() if name.endswith(DATA_SUFFIX))


def is_export(folder: Path) -> bool:
    """A manifest lies there."""
    return (folder / MANIFEST).is_file()


def read(folder: Path) -> Manifest:
    """The manifest of a folder. Raises ModelUnavailableError when there is none, or none that is read here."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = document.pop("format")
        if found == FORMAT:
            return _parse(document)
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"{folder} is not an ONNX export", remedy="write one: dropscribe models export SRC DST --dtype int4"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailableError(f"{folder / MANIFEST} cannot be read: {error}", remedy="export it again") from error
    raise ModelUnavailableError(
        f"{folder} is an export of format {found}, and this version reads format {FORMAT}", remedy="export it again"
    )


def _parse(document: Mapping[str, Any]) -> Manifest:
    """The manifest in a JSON document. Raises KeyError, TypeError if it is not one."""
    return Manifest(
        **{
            **document,
            "ends": tuple(document["ends"]),
            "wording": Wording(**document["wording"]),
            "graphs": {name: _graph(graph) for name, graph in document["graphs"].items()},
            "files": {name: File(**file) for name, file in document["files"].items()},
        }
    )


def _graph(document: Mapping[str, Any]) -> Graph:
    """One graph in a manifest."""
    inputs, outputs = (
        tuple(Port(port["name"], port["dtype"], tuple(port["shape"])) for port in document[side])
        for side in ("inputs", "outputs")
    )
    return Graph(document["file"], inputs, outputs)


def problems(folder: Path, manifest: Manifest) -> list[str]:
    """What is not there or of another size, a sentence each."""
    return [*filter(None, starmap(partial(_problem, folder), manifest.files.items()))]


def _problem(folder: Path, name: str, file: File) -> str:
    """What is wrong with a file of an export; empty if its size is right."""
    path = folder / name
    if not path.is_file():
        return f"{name} is not there; export it again"
    size = path.stat().st_size
    wrong = f"{name} has {size:,} bytes and should have {file.size:,}; export it again"
    return wrong if size != file.size else ""


def describe(folder: Path) -> dict[str, File]:
    """Size and hash of every file in a folder."""
    return {path.name: File(path.stat().st_size, digest(path)) for path in sorted(folder.iterdir())}


def digest(path: Path) -> str:
    """SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

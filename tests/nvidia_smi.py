"""Stands in for the NVIDIA driver's tool, where there is no GPU."""

from __future__ import annotations

from pathlib import Path

DRIVER = "570.1"


def install(folder: Path, script: str) -> None:
    """Have `nvidia-smi` in the folder do this."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def install_listing(folder: Path, *cards: tuple[str, int | str]) -> None:
    """Have it list cards of these names and MiB, with the indices from 0."""
    lines = [f"{index}, GPU-{index}, {size}, {DRIVER}, {name}" for index, (name, size) in enumerate(cards)]
    install(folder, "\n".join(f"echo '{line}'" for line in lines))

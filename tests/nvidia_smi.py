"""Stands in for the NVIDIA driver's tool, where there is no GPU."""

from __future__ import annotations

from pathlib import Path

DRIVER = "580.95.05"
OUTPUTS = Path(__file__).parent / "nvidia_smi_outputs"  # a folder a machine


def install(folder: Path, script: str) -> None:
    """Have `nvidia-smi` in the folder do this."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)


def install_listing(folder: Path, *cards: tuple[str, int | str]) -> None:
    """Have it list cards of these names and MiB, all of them free, with the indices from 0."""
    lines = [
        f"{index}, GPU-{index}, {size}, {size}, {DRIVER}, [N/A], 8.9, {name}"
        for index, (name, size) in enumerate(cards)
    ]
    install(folder, "\n".join(f"echo '{line}'" for line in lines))


def install_machine(folder: Path, name: str) -> None:
    """Have it answer as on the machine of that name in `nvidia_smi_outputs`."""
    machine = OUTPUTS / name
    status = (machine / "status").read_text().strip() if (machine / "status").exists() else "0"
    install(
        folder,
        f"""case "$*" in
-L) exec /bin/cat {machine}/list;;
"-q -x") exec /bin/cat {machine}/document;;
*compute_cap*) /bin/cat {machine}/query; exit {status};;
*) exec /bin/cat {machine}/fewer;;
esac""",
    )

"""Pins this process to one GPU. To be called before anything imports torch."""

from __future__ import annotations

import os
import shutil
import subprocess

from dropscribe.core.errors import ModelUnavailableError

LIST_SECONDS = 30  # nvidia-smi takes some seconds where persistence mode is off


def pin(index: int) -> str:
    """Let this process see the GPU with that index alone; returns the GPU's UUID.

    The UUID and not the index, since CUDA and nvidia-smi may number differently. Raises ModelUnavailableError when
    there is no such GPU.
    """
    uuids = list_gpus()
    if index >= len(uuids):
        raise ModelUnavailableError(
            f"there is no GPU {index}: nvidia-smi lists {len(uuids)}", remedy="`dropscribe doctor`"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = uuids[index]
    return uuids[index]


def list_gpus() -> list[str]:
    """UUIDs of this machine's NVIDIA GPUs in the driver's order; empty where there are none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(  # noqa: S603 (a fixed command)
            command, capture_output=True, text=True, timeout=LIST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.startswith("GPU-")]

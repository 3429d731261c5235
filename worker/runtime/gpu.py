"""Pins this process to one GPU. To be called before anything imports torch."""

from __future__ import annotations

import os

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.gpus import list_gpus


def pin(index: int) -> str:
    """Let this process see the GPU with that index alone; returns the GPU's UUID.

    The UUID and not the index, since CUDA and nvidia-smi may number differently. Raises ModelUnavailableError when
    there is no such GPU, or nvidia-smi fails.
    """
    found = {gpu.index: gpu.uuid for gpu in list_gpus()}
    if index not in found:
        raise ModelUnavailableError(
            f"there is no GPU {index}: nvidia-smi lists {len(found)}", remedy="`dropscribe doctor`"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = found[index]
    return found[index]

"""Pins this process to one GPU. To be called before anything imports torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from dropscribe.core import gpus
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.gpus import Gpu, GpuListing

log = logging.getLogger(__name__)

CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))  # of Docker, of Podman


def pin(which: str) -> Gpu:
    """Let this process see one GPU alone: `which` counts those that it may use, or is the UUID of one.

    By its UUID, since CUDA and nvidia-smi may number differently. Raises ModelUnavailableError when there is no such
    GPU, or nvidia-smi fails.
    """
    listing = gpus.look()
    for remark in listing.remarks:
        log.warning("%s", remark)
    found = listing.find(which)
    if found is None:
        raise _absent(which, listing)
    os.environ[gpus.VARIABLE] = found.uuid
    return found


def _absent(which: str, listing: GpuListing) -> ModelUnavailableError:
    """The error for a GPU that this process cannot use."""
    if gpus.is_unlisted():
        problem = f"GPU {which} cannot be found: {gpus.UNLISTED}"
        return ModelUnavailableError(problem, remedy=gpus.UNLISTED_REMEDY)
    problem = (
        f"there is no GPU {which}: this process may use {len(listing.gpus)} of this machine's {listing.on_machine}"
    )
    return ModelUnavailableError(problem, remedy=_remedy(listing))


def _remedy(listing: GpuListing) -> str:
    """What to do where the GPU that is asked for is not there."""
    if listing.on_machine:
        return f"they count from 0, as {gpus.VARIABLE} gives them; `dropscribe doctor` lists them"
    if any(map(Path.exists, CONTAINER_MARKS)):
        return "start this container with its GPUs (docker run --gpus all)"
    return "install the NVIDIA driver; `dropscribe doctor` says more"

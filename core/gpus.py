"""The NVIDIA GPUs of this machine, as nvidia-smi lists them. No torch."""

from __future__ import annotations

import logging
import shutil
import subprocess
from dataclasses import dataclass

from dropscribe.core.errors import ModelUnavailableError

log = logging.getLogger(__name__)

FIELDS = "index,uuid,memory.total,driver_version,name"  # the name comes last, as it may hold commas
LIST_SECONDS = 30  # nvidia-smi takes some seconds where persistence mode is off
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card: `index` in the driver's order, `memory` in bytes, or None where it shares the machine's."""

    index: int
    uuid: str
    memory: int | None
    driver: str
    name: str


def list_gpus() -> list[Gpu]:
    """All GPUs in the driver's order; none where there is no nvidia-smi. Raises ModelUnavailableError when it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"]
    remedy = "mend the NVIDIA driver; a reboot often helps"
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=LIST_SECONDS, check=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        said = (error.stdout or error.stderr).strip() or f"exit status {error.returncode}"
        raise ModelUnavailableError(f"nvidia-smi fails ({said})", remedy=remedy) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelUnavailableError(f"nvidia-smi fails ({error})", remedy=remedy) from error
    return [_gpu(*line.split(", ", 4)) for line in listed.stdout.splitlines() if line.count(", ") >= FIELDS.count(",")]


def known_gpus() -> list[Gpu]:
    """Likewise, for those who can do without: none where nvidia-smi fails, which is logged."""
    try:
        return list_gpus()
    except ModelUnavailableError as error:
        log.warning("no GPU is used: %s", error)
        return []


def _gpu(index: str, uuid: str, mebibytes: str, driver: str, name: str) -> Gpu:
    return Gpu(int(index), uuid, int(mebibytes) * MIB if mebibytes.isdecimal() else None, driver, name)

"""What nvidia-smi says of the cards of this machine: the one place that asks it, and parses its answers. No torch."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from xml.etree import ElementTree as ET

from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelUnavailableError

PROGRAM = "nvidia-smi"
WSL = "/usr/lib/wsl/lib"  # where WSL2 has it, which services do not have on their PATH
LIST_SECONDS = 30  # nvidia-smi takes some seconds where persistence mode is off
MIB = 2**20
INVALID_ARGUMENT, NOTHING_FOUND = 2, 6  # exit statuses, by its manual
# The name comes last, as it may hold commas. A driver that does not know all of these fields is asked for fewer.
QUERIES = (
    "index,uuid,memory.total,memory.free,driver_version,mig.mode.current,compute_cap,name",
    "index,uuid,memory.total,memory.free,driver_version,name",
)
QUERIED = re.compile(  # a line of the answer to either
    r"^(?P<index>\d+), (?P<uuid>GPU-[^,]+), (?P<memory>[^,]+), (?P<free>[^,]+), (?P<driver>[^,]+), "
    r"(?:(?P<mig>Enabled|Disabled|\[N/A\]), (?P<major>\d+)\.(?P<minor>\d+), )?(?P<name>.+)$",
    re.MULTILINE,
)
LISTED = re.compile(  # a line of `nvidia-smi -L`: a card, or a MIG device of the card above
    r"^(?:GPU \d+: .*\(UUID: (?P<card>GPU-[^)]+)\)|\s+MIG (?P<profile>\S+)\s+Device\s+(?P<index>\d+): "
    r"\(UUID: (?P<uuid>MIG-[^)]+)\))$",
    re.MULTILINE,
)
REMEDIES = (  # by what nvidia-smi says, in lower case
    ("driver/library version mismatch", "the driver was updated while it was in use: reboot"),
    ("communicate with the nvidia driver", "its kernel module is not loaded: reboot, or install the driver again"),
    ("unknown error", "in a container: start it again, with its GPUs; on a host: reboot"),
)
MEND = "fix the NVIDIA driver; a reboot often helps"


@dataclass(frozen=True, slots=True)
class MigSlice:
    """A MIG device of a card. `instances` are the ids of its GPU instance and its compute instance, as `1/0`."""

    uuid: str = ""
    profile: str = ""
    memory: int | None = None
    free: int | None = None
    instances: str = ""


@dataclass(frozen=True, slots=True)
class ListedCard:
    """One card: `index` in the driver's order, memory in bytes, or None where it shares the machine's.

    `capability` is its compute capability, None where the driver does not tell. With `mig`, only its `slices` compute.
    """

    index: int
    uuid: str
    memory: int | None
    free: int | None
    driver: str
    name: str
    capability: tuple[int, int] | None = None
    mig: bool = False
    slices: tuple[MigSlice, ...] = ()


@dataclass(frozen=True, slots=True)
class DriverAnswer:
    """All cards that answer, in the driver's order, and what nvidia-smi says of any that do not."""

    cards: tuple[ListedCard, ...] = ()
    trouble: str = ""


def is_installed() -> bool:
    """Whether there is an nvidia-smi."""
    return _program() is not None


def _program() -> str | None:
    """Where nvidia-smi is, on the path or where Windows puts it."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=WSL)


def ask() -> DriverAnswer:
    """The cards of this machine; none where there is no nvidia-smi. Raises ModelUnavailableError when it fails."""
    if not is_installed():
        return DriverAnswer()
    answer = _query()
    cards = list(map(_card, QUERIED.finditer(answer.stdout)))
    trouble = "; ".join(filter(None, QUERIED.sub("", answer.stdout + answer.stderr).splitlines()))
    if not cards and answer.returncode not in {0, NOTHING_FOUND}:
        raise _failure(trouble or f"exit status {answer.returncode}")
    return DriverAnswer(tuple(with_slices(cards)), trouble)


def _query() -> subprocess.CompletedProcess[str]:
    """Ask for all fields; of an older driver, which does not know some, for the others."""
    answer = _ask_for(QUERIES[0])
    return _ask_for(QUERIES[1]) if answer.returncode == INVALID_ARGUMENT else answer


def _ask_for(fields: str) -> subprocess.CompletedProcess[str]:
    """The fields of each card, a line a card."""
    return _run(f"--query-gpu={fields}", "--format=csv,noheader,nounits")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run nvidia-smi. Raises ModelUnavailableError where it cannot be started, or hangs."""
    command = [_program() or PROGRAM, *arguments]
    with translated((OSError, subprocess.TimeoutExpired), into=lambda error: _failure(str(error))):
        return subprocess.run(command, capture_output=True, text=True, timeout=LIST_SECONDS, check=False)  # noqa: S603


def _failure(said: str) -> ModelUnavailableError:
    """The error for what nvidia-smi `said`, with what to do about it."""
    remedy = next((remedy for mark, remedy in REMEDIES if mark in said.lower()), MEND)
    return ModelUnavailableError(f"nvidia-smi fails ({said})", remedy=remedy)


def _card(found: re.Match[str]) -> ListedCard:
    """A card, by a line of the answer."""
    return ListedCard(
        index=int(found["index"]),
        uuid=found["uuid"],
        memory=_bytes(found["memory"]),
        free=_bytes(found["free"]),
        driver=found["driver"],
        name=found["name"],
        capability=(int(found["major"]), int(found["minor"])) if found["major"] else None,
        mig=found["mig"] == "Enabled",
    )


def _bytes(mebibytes: str) -> int | None:
    """Bytes of `4864` or `4864 MiB`; None of `[N/A]`.

    >>> _bytes("4864 MiB"), _bytes("[N/A]")
    (5100273664, None)
    """
    number = mebibytes.partition(" ")[0]
    return int(number) * MIB if number.isdecimal() else None


def with_slices(cards: list[ListedCard]) -> list[ListedCard]:
    """The cards with their MIG devices: UUIDs and profiles come from `-L` alone, memory and ids by `-q -x` alone."""
    if not any(map(attrgetter("mig"), cards)):
        return cards
    details = _details(_run("-q", "-x").stdout)
    slices: dict[str, list[MigSlice]] = defaultdict(list)
    for card, found in _listed_slices(_run("-L").stdout):
        detail = details.get((card, found["index"]), MigSlice())
        slices[card].append(replace(detail, uuid=found["uuid"], profile=found["profile"]))
    return [replace(card, slices=tuple(slices[card.uuid])) for card in cards]


def _listed_slices(listing: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Each MIG device in `nvidia-smi -L`: the UUID of its card, and what the line says of it."""
    card = ""
    for found in LISTED.finditer(listing):
        card = found["card"] or card
        if found["uuid"]:
            yield card, found


def _details(document: str) -> dict[tuple[str, str], MigSlice]:
    """Memory and instances of each MIG device, by the UUID of its card and its index there; none if unreadable."""
    try:
        root = ET.fromstring(document)  # noqa: S314 (the driver's own tool wrote it)
    except ET.ParseError:
        return {}
    return {
        (gpu.findtext("uuid", ""), device.findtext("index", "")): MigSlice(
            memory=_bytes(device.findtext("fb_memory_usage/total", "")),
            free=_bytes(device.findtext("fb_memory_usage/free", "")),
            instances=f"{device.findtext('gpu_instance_id')}/{device.findtext('compute_instance_id')}",
        )
        for gpu in root.iter("gpu")
        for device in gpu.iter("mig_device")
    }

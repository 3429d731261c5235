"""Which NVIDIA GPUs this process may use: those of the machine, as CUDA_VISIBLE_DEVICES limits them. No torch.

A device is a card, or a MIG slice of one. Everything that counts GPUs asks here: `up`, `--gpu`, `plan`, `doctor`, the
choice of an engine and the Makefile, by `python -m dropscribe.core.gpus`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, takewhile
from operator import attrgetter
from pathlib import Path

from dropscribe.core import nvidia_smi
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.nvidia_smi import ListedCard, MigSlice

DRIVER = Path("/proc/driver/nvidia/version")  # not there under WSL2, whose driver is that of Windows
VARIABLE = "CUDA_VISIBLE_DEVICES"
ORDER = (
    "CUDA_DEVICE_ORDER"  # of CUDA's indices; unless it is set, they begin with the fastest card, unlike nvidia-smi's
)
UNLISTED = "there is an NVIDIA driver, but not nvidia-smi"
UNLISTED_REMEDY = (
    "install nvidia-smi of the driver's version; in a container, NVIDIA_DRIVER_CAPABILITIES=compute,utility brings it"
)
NOTHING = ("", "-1", "NoDevFiles")  # what stands for no device; the last one is Slurm's


def device_order() -> dict[str, str]:
    """The variable that has CUDA number cards as nvidia-smi does, unless somebody has said how."""
    return {ORDER: os.environ.get(ORDER, "PCI_BUS_ID")}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device: `index` counts those that this process may use, `uuid` is what CUDA_VISIBLE_DEVICES takes.

    `memory` and `free` are bytes, None where it shares the machine's or the driver does not tell. `capability` is its
    compute capability. `card` is the index of its card in the driver's order, `instances` those of a MIG slice.
    """

    index: int
    uuid: str
    memory: int | None
    free: int | None
    driver: str
    name: str
    capability: tuple[int, int] | None = None
    card: int = 0
    card_uuid: str = ""
    instances: str = ""


@dataclass(frozen=True, slots=True)
class GpuListing:
    """The devices that this process may use, how many the machine has, and a sentence for whatever is odd.

    It `is_broken` where the driver does not answer at all.
    """

    gpus: tuple[Gpu, ...] = ()
    on_machine: int = 0
    remarks: tuple[str, ...] = ()
    is_broken: bool = False

    def find(self, which: str) -> Gpu | None:
        """The device with that index or UUID, if this process may use it."""
        return next((gpu for gpu in self.gpus if which in {str(gpu.index), gpu.uuid}), None)


def look() -> GpuListing:
    """Ask the driver. Raises ModelUnavailableError when it does not answer."""
    answer = nvidia_smi.ask()
    devices = list(chain.from_iterable(map(_devices, answer.cards)))
    everything = ",".join(map(attrgetter("uuid"), devices))
    chosen, unknown = choose(devices, os.environ.get(VARIABLE, everything))
    remarks = filter(
        None, (answer.trouble and f"nvidia-smi says: {answer.trouble}", *map(_without_slices, answer.cards), unknown)
    )
    ours = tuple(replace(device, index=index) for index, device in enumerate(chosen))
    return GpuListing(ours, len(devices), tuple(remarks))


def known() -> GpuListing:
    """Likewise, for those who can do without: none where the driver does not answer, which is a remark."""
    try:
        return look()
    except ModelUnavailableError as error:
        return GpuListing(remarks=(f"no GPU is used: {error}",), is_broken=True)


def is_unlisted() -> bool:
    """Whether there is a driver and no nvidia-smi to ask, so that nobody knows which GPUs there are."""
    wanted = os.environ.get(VARIABLE)
    return DRIVER.exists() and not nvidia_smi.is_installed() and wanted not in NOTHING


def choose(devices: Sequence[Gpu], named: str) -> tuple[list[Gpu], str]:
    """The devices that a value of CUDA_VISIBLE_DEVICES names, in its order, and a sentence on a name of none.

    As in CUDA, a name is an index of nvidia-smi, a UUID or its beginning; and after a name of no device, no more count.
    The index or UUID of a card that is in MIG mode names all of its slices.
    """
    names = list(map(str.strip, named.split(",")))
    found = list(takewhile(bool, map(partial(_named, devices), names)))
    chosen = {device.uuid: device for device in chain.from_iterable(found)}
    return list(chosen.values()), "".join(map(_unknown, names[len(found) :][:1]))


def _unknown(name: str) -> str:
    """A remark on an entry of CUDA_VISIBLE_DEVICES that means no GPU; empty for one that hides them all."""
    if name in NOTHING:
        return ""
    return f"{VARIABLE} names {name}, which is not a GPU of this machine: it and all that follow are ignored"


def _named(devices: Sequence[Gpu], name: str) -> list[Gpu]:
    """The device of that name, or all slices of the card; none where several could be meant."""
    found = list(filter(partial(_is_named, name), devices))
    subject = attrgetter("uuid" if name.startswith("MIG-") else "card_uuid")
    return found * (len(set(map(subject, found))) == 1)


def _is_named(name: str, device: Gpu) -> bool:
    """Does an entry of CUDA_VISIBLE_DEVICES mean this device: by its number, or the start of a UUID?"""
    before_470 = f"MIG-{device.card_uuid}/{device.instances}"  # what drivers called a slice then
    identities = (device.uuid, device.card_uuid, before_470)
    return name == str(device.card) or any(identity.startswith(name or "none") for identity in identities)


def _devices(card: ListedCard) -> list[Gpu]:
    """What a process can use of a card: its slices if it is in MIG mode, else the card as a whole."""
    whole = Gpu(
        index=0,
        uuid=card.uuid,
        memory=card.memory,
        free=card.free,
        driver=card.driver,
        name=card.name,
        capability=card.capability,
        card=card.index,
        card_uuid=card.uuid,
    )
    return [_sliced(whole, one) for one in card.slices] if card.mig else [whole]


def _sliced(whole: Gpu, one: MigSlice) -> Gpu:
    """A slice of a card, by what is known of the card."""
    name = f"{whole.name} MIG {one.profile}"
    return replace(whole, uuid=one.uuid, memory=one.memory, free=one.free, name=name, instances=one.instances)


def _without_slices(card: ListedCard) -> str:
    """What to do about a card in MIG mode that nobody has sliced, which is of no use; empty for others."""
    if not card.mig or card.slices:
        return ""
    make = f"nvidia-smi mig -i {card.index} -cgi ... -C"
    return f"GPU {card.index} is in MIG mode and has no MIG devices: `{make}` makes some"


def main() -> int:
    """Print what this machine may compute on, a line a device; nothing where that is the CPU alone."""
    listing = known()
    sys.stderr.writelines(f"{remark}\n" for remark in listing.remarks)
    sys.stdout.writelines(f"{gpu.name}, driver {gpu.driver}\n" for gpu in listing.gpus)
    if is_unlisted():
        sys.stdout.write("a GPU, as there is an NVIDIA driver\n")
    return int(listing.is_broken)


if __name__ == "__main__":
    sys.exit(main())

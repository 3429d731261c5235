"""Which GPUs are ours: what nvidia-smi prints on machines of every kind, and what CUDA_VISIBLE_DEVICES leaves of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dropscribe.core import gpus
from dropscribe.core import nvidia_smi as asked
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.gpus import Gpu
from dropscribe.core.nvidia_smi import MIB
from dropscribe.worker.runtime import gpu
from tests import nvidia_smi
from tests.documents import REPOSITORY

SLICES = ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb")
WHOLE = "GPU-7c1ad0b2-15e6-4f0e-8f3c-0b9a5a8d6f42"
SLICED = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that programs are looked for in, on a machine without a driver."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    return tmp_path


def uuids() -> list[str]:
    return [found.uuid for found in gpus.look().gpus]


def test_a_machine_without_the_driver_has_none() -> None:
    assert gpus.look() == gpus.GpuListing()


def test_one_card_is_listed_with_all_that_is_known_of_it(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "one")
    uuid = "GPU-5a1de6e3-0f2c-44b1-9d5c-6c1f5f0f8a10"
    card = Gpu(0, uuid, 23_034 * MIB, 22_531 * MIB, "580.95.05", "NVIDIA L4", (8, 9), 0, uuid)
    assert gpus.look() == gpus.GpuListing((card,), 1)


def test_wsl2_has_its_card_without_a_driver_in_proc(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "wsl2")
    (card,) = gpus.look().gpus
    assert (card.name, card.memory, gpus.DRIVER.exists()) == ("NVIDIA GeForce RTX 4070", 12_282 * MIB, False)


def test_wsl2_has_its_tool_in_a_folder_of_its_own(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.install_machine(tools, "wsl2")
    monkeypatch.setenv("PATH", str(tools / "nowhere"))
    assert uuids() == []
    monkeypatch.setattr(asked, "WSL", str(tools))
    assert len(uuids()) == 1


def test_a_card_that_shares_the_machines_memory_has_none_of_its_own(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "shared_memory")
    (card,) = gpus.look().gpus
    assert (card.memory, card.free, card.capability) == (None, None, (12, 1))


def test_a_driver_that_knows_fewer_fields_is_asked_for_fewer(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "old_driver")
    (card,) = gpus.look().gpus
    assert (card.name, card.driver, card.memory, card.capability) == ("Tesla T4", "470.256.02", 15_109 * MIB, None)


def test_mig_slices_are_devices_of_their_own_with_the_memory_of_the_slice(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "mig")
    listing = gpus.look()
    assert [(one.index, one.uuid, one.memory, one.free) for one in listing.gpus] == [
        (0, SLICES[0], 20_096 * MIB, 20_058 * MIB),
        (1, SLICES[1], 9_984 * MIB, 9_965 * MIB),
        (2, WHOLE, 40_960 * MIB, 40_533 * MIB),
    ]
    assert [one.name for one in listing.gpus][:2] == [
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        "NVIDIA A100-SXM4-40GB MIG 1c.2g.10gb",
    ]
    assert listing.remarks == ()


def test_a_card_in_mig_mode_without_devices_is_no_device_and_is_told(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "mig_without_devices")
    listing = gpus.look()
    assert listing.gpus == ()
    assert listing.remarks[0].startswith("GPU 0 is in MIG mode and has no MIG devices: `nvidia-smi mig -i 0 -cgi")


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("mismatch", r"fails \(Failed to initialize NVML: .*mismatch.*\); the driver was updated while .*: reboot"),
        ("unloaded", r"fails \(NVIDIA-SMI has failed .*\); its kernel module is not loaded: reboot, or install"),
    ],
)
def test_a_broken_driver_is_named_with_what_to_do(machine: str, said: str, tools: Path) -> None:
    nvidia_smi.install_machine(tools, machine)
    with pytest.raises(ModelUnavailableError, match=said):
        gpus.look()
    assert gpus.known().gpus == ()
    assert gpus.known().remarks[0].startswith("no GPU is used: nvidia-smi fails")


def test_the_other_cards_are_used_when_one_fell_off_the_bus(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "lost_card")
    listing = gpus.look()
    assert [card.name for card in listing.gpus] == ["NVIDIA GeForce RTX 3090"]
    assert listing.remarks == (
        "nvidia-smi says: Unable to determine the device handle for GPU1: 0000:41:00.0: Unknown Error",
    )


def test_a_driver_without_a_card_says_so_and_is_none(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "none_found")
    assert gpus.look() == gpus.GpuListing((), 0, ("nvidia-smi says: No devices were found",))


@pytest.mark.parametrize(
    ("named", "cards"),
    [
        ("0", "0"),
        ("2,1", "21"),
        ("3, 5", "35"),
        ("", ""),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("0,2,-1,1", "02"),
        ("1,1", "1"),
        ("GPU-00000004-77aa-4c1e-b0d1-2f6c9e3a5104", "4"),
        ("GPU-00000006,GPU-00000002", "62"),
    ],
)
def test_cuda_visible_devices_is_respected(
    named: str, cards: str, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setenv(gpus.VARIABLE, named)
    listing = gpus.look()
    assert "".join(str(card.card) for card in listing.gpus) == cards
    assert [card.index for card in listing.gpus] == list(range(len(cards)))
    assert (listing.on_machine, listing.remarks) == (8, ())


@pytest.mark.parametrize(
    ("named", "cards", "why"),
    [
        ("1,9,2", "1", "names 9, which is not a GPU of this machine"),
        ("GPU-0000000", "", "names GPU-0000000, which is not a GPU"),
        ("all", "", "names all, which is not a GPU"),
    ],
)
def test_a_name_of_no_device_ends_the_list_and_is_told(
    named: str, cards: str, why: str, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setenv(gpus.VARIABLE, named)
    listing = gpus.look()
    assert "".join(str(card.card) for card in listing.gpus) == cards
    assert why in listing.remarks[0]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (SLICES[1], [SLICES[1]]),
        ("MIG-c6d4", [SLICES[0]]),
        (f"MIG-{SLICED}/3/1", [SLICES[1]]),
        ("0", list(SLICES)),
        (SLICED, list(SLICES)),
        (f"{WHOLE},{SLICES[0]}", [WHOLE, SLICES[0]]),
        ("MIG-c", []),
    ],
)
def test_mig_slices_are_named_by_their_uuid_or_their_card(
    named: str, expected: list[str], tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi.install_machine(tools, "mig")
    monkeypatch.setenv(gpus.VARIABLE, named)
    assert uuids() == expected


def test_a_worker_is_pinned_to_one_of_those_that_it_was_given(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setenv(gpus.VARIABLE, "5,3")
    pinned = gpu.pin("1")
    assert pinned.card == 3
    assert os.environ[gpus.VARIABLE] == pinned.uuid
    assert uuids() == [pinned.uuid]
    assert gpu.pin(pinned.uuid).uuid == pinned.uuid


def test_a_worker_has_cuda_number_cards_as_the_driver_does_before_anything_loads_it(tools: Path) -> None:
    code = """
import os, sys
from dropscribe.core import errors, gpus, settings
from dropscribe.worker import service
try:
    service.run(settings.Settings(), "model", which_gpu="99")
except errors.ModelUnavailableError:
    print(os.environ[gpus.ORDER], {"torch", "ctranslate2", "onnxruntime"} & set(sys.modules))
"""
    environment = {name: value for name, value in os.environ.items() if name != gpus.ORDER}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    assert told.stdout == "PCI_BUS_ID set()\n"


def test_a_gpu_that_was_not_given_is_refused(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setenv(gpus.VARIABLE, "5,3")
    for which in ("2", "GPU-00000000-77aa-4c1e-b0d1-2f6c9e3a5100"):
        with pytest.raises(ModelUnavailableError, match=r"may use 2 of this machine's 8; .* CUDA_VISIBLE_DEVICES"):
            gpu.pin(which)


def test_a_container_without_its_gpus_says_how_to_start_it(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "CONTAINER_MARKS", (tools / "mark",))
    with pytest.raises(ModelUnavailableError, match=r"there is no GPU 0: .*; install the NVIDIA driver"):
        gpu.pin("0")
    (tools / "mark").touch()
    with pytest.raises(ModelUnavailableError, match=r"there is no GPU 0: .*; start this container with its GPUs"):
        gpu.pin("0")


def test_a_driver_without_its_tool_cannot_say_which_gpu_is_meant(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus.DRIVER.touch()
    assert gpus.is_unlisted()
    with pytest.raises(ModelUnavailableError, match="an NVIDIA driver, but not nvidia-smi; install nvidia-smi of"):
        gpu.pin("0")
    monkeypatch.setenv(gpus.VARIABLE, "-1")
    assert not gpus.is_unlisted()


@pytest.mark.parametrize(
    ("machine", "named", "extras"),
    [
        ("wsl2", None, "local,gpu"),
        ("one", "", "local"),
        ("mig", SLICES[0], "local,gpu"),
        ("mismatch", None, "local"),
        ("", None, "local"),
    ],
)
def test_make_asks_the_same_question(
    machine: str, named: str | None, extras: str, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = shutil.which("make", path="/usr/bin:/bin")
    assert make
    if machine:
        nvidia_smi.install_machine(tools, machine)
    if named is not None:
        monkeypatch.setenv(gpus.VARIABLE, named)
    command = [make, "--dry-run", "--always-make", f"PYTHON={sys.executable}", "VENV=none", "none/run"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert f"--editable '.[{extras}]'" in shown

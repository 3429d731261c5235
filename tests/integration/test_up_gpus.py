"""Which model workers `up` starts: one for each GPU that it was given and the engine can use, or else one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dropscribe.admin.local.model_workers import ModelWorkers
from dropscribe.admin.local.supervisor import Child, Supervisor
from dropscribe.admin.state.report import TextReport
from dropscribe.core import gpus
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.gpu import cublas
from dropscribe.store.session import Database
from tests import nvidia_smi

HOST = socket.gethostname()
EIGHT = [f"GPU-0000000{card}-77aa-4c1e-b0d1-2f6c9e3a510{card}" for card in range(8)]


class Planned(Supervisor):
    """Takes children on and starts no process."""

    def _spawn(self, child: Child) -> None:
        pass


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that programs are looked for in, on a machine without a driver."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    return tmp_path


def workers(store: Database, engine: str) -> list[tuple[str, ...]]:
    """The name of each model worker, and the GPU that it is to be pinned to."""
    settings = Settings(engine=engine)
    choices = registry.choose_all(settings)
    children = ModelWorkers(settings, choices, TextReport().say).start(Planned(Path(), {}, lambda _: True))
    assert [(child.arguments[0], child.may_end) for child in children] == [("model", True)] * len(children)
    assert {tuple(child.arguments[2:4]) for child in children} == {(choices[0].spec.name, choices[0].model)}
    return [(child.arguments[1], *child.arguments[4:]) for child in children]


def test_each_gpu_gets_a_worker(store: Database, tools: Path) -> None:
    nvidia_smi.install_machine(tools, "eight")
    assert workers(store, "vibevoice") == [(f"{HOST}-model-{card}", EIGHT[card]) for card in range(8)]


def test_only_gpus_that_were_given_are_taken(store: Database, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setenv(gpus.VARIABLE, "5,2")
    assert workers(store, "vibevoice") == [(f"{HOST}-model-0", EIGHT[5]), (f"{HOST}-model-1", EIGHT[2])]
    monkeypatch.setenv(gpus.VARIABLE, "")
    assert workers(store, "vibevoice") == [(f"{HOST}-model",)]


def test_each_mig_slice_gets_a_worker(store: Database, tools: Path) -> None:
    nvidia_smi.install_machine(tools, "mig")
    assert [uuid.partition("-")[0] for _, uuid in workers(store, "vibevoice")] == ["MIG", "MIG", "GPU"]


def test_a_card_that_is_too_small_is_left_alone_and_that_is_told(
    store: Database, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi.install_listing(tools, ("NVIDIA T400", 4_096), ("NVIDIA L4", 23_034))
    assert workers(store, "vibevoice") == [(f"{HOST}-model-1", "GPU-1")]
    shown = "".join(capsys.readouterr()).replace("\n", " ")
    assert "GPU 0 (NVIDIA T400) is not used: it is too small for microsoft/VibeVoice-ASR-HF" in shown


def test_an_engine_that_cannot_use_gpus_gets_one_worker_without(
    store: Database, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setattr(cublas, "LIBRARY", "libno.so.12")
    assert workers(store, "whisper") == workers(store, "onnx") == workers(store, "scripted") == [(f"{HOST}-model",)]
    monkeypatch.setattr(cublas, "LIBRARY", "libc.so.6")
    assert len(workers(store, "whisper")) == 8


def test_a_broken_driver_is_told_and_leaves_the_cpu(
    store: Database, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi.install_machine(tools, "mismatch")
    assert workers(store, "auto") == [(f"{HOST}-model",)]
    assert "no GPU is used: nvidia-smi fails" in "".join(capsys.readouterr())

"""Which engine a name stands for, and what is said when there is none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from dropscribe.core.errors import ModelUnavailableError, SettingsError
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.scripted import Scripted

installed = pytest.mark.skipif(not importlib.util.find_spec("pocketsphinx"), reason="pocketsphinx is not installed")


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without an NVIDIA driver; the folder that PATH consists of."""
    monkeypatch.setattr(registry, "NVIDIA_DRIVER", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def without_pocketsphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package counts as not installed, and our module as not yet imported."""
    monkeypatch.delitem(sys.modules, "dropscribe.models.pocketsphinx", raising=False)
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)


def test_an_engine_is_created_by_its_name() -> None:
    engine = registry.create("scripted", Settings(script='{"seconds": 0}'))
    assert isinstance(engine, Scripted)


def test_settings_reach_the_engine() -> None:
    with pytest.raises(SettingsError):
        registry.create("scripted", Settings(script='{"unknown": 1}'))


def test_an_engine_that_this_version_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry.ENGINES, "vibevoice", raising=False)
    for ask in (registry.resolve, registry.notice, lambda name: registry.create(name, Settings())):
        with pytest.raises(ModelUnavailableError, match="vibevoice is not part of this version yet; use pocketsphinx"):
            ask("vibevoice")


def test_a_name_stands_for_itself() -> None:
    assert registry.resolve("scripted") == "scripted"


@installed
def test_auto_is_pocketsphinx_on_a_machine_without_a_gpu(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "vibevoice", "dropscribe.models.vibevoice:VibeVoice")
    assert registry.resolve("auto") == "pocketsphinx"


def test_auto_is_vibevoice_where_the_driver_is_loaded(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "vibevoice", "dropscribe.models.vibevoice:VibeVoice")
    registry.NVIDIA_DRIVER.write_text("NVRM version: 1\n")
    assert registry.resolve("auto") == "vibevoice"


def test_auto_is_vibevoice_where_the_drivers_tool_is_on_the_path(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "vibevoice", "dropscribe.models.vibevoice:VibeVoice")
    tool = no_gpu / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert registry.resolve("auto") == "vibevoice"


@installed
def test_a_gpu_does_not_bring_an_engine_that_this_version_lacks(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry.ENGINES, "vibevoice", raising=False)
    registry.NVIDIA_DRIVER.write_text("NVRM version: 1\n")
    assert registry.resolve("auto") == "pocketsphinx"


def test_auto_says_what_to_install_where_nothing_can_run(no_gpu: Path, without_pocketsphinx: None) -> None:
    with pytest.raises(ModelUnavailableError, match=r"pip install 'dropscribe\[local\]'"):
        registry.resolve("auto")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(without_pocketsphinx: None) -> None:
    with pytest.raises(ModelUnavailableError, match=r"pocketsphinx.*pip install 'dropscribe\[local\]'"):
        registry.create("pocketsphinx", Settings())


def test_a_package_that_is_missing_is_noticed_without_importing_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.require("scripted")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelUnavailableError, match=r"faster_whisper is not.*pip install 'dropscribe\[whisper\]'"):
        registry.require("whisper")


def test_every_optional_engine_names_the_package_that_it_needs() -> None:
    assert registry.NEEDS.keys() == registry.EXTRAS.keys()


def test_without_torch_the_extra_for_gpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dropscribe.models.vibevoice.transcriber", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelUnavailableError, match=r"vibevoice cannot be imported: .*pip install 'dropscribe\[gpu\]'"):
        registry.create("vibevoice", Settings())


def test_an_engine_that_needs_nothing_but_cannot_be_imported_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.ENGINES, "scripted", "models.no_such_module:Scripted")
    with pytest.raises(ModuleNotFoundError):
        registry.create("scripted", Settings())


def test_the_notice_is_told_without_importing_the_model(without_pocketsphinx: None) -> None:
    assert registry.notice("pocketsphinx") == (
        "pocketsphinx: small offline English model, for trying dropscribe out; "
        "for real transcripts use VibeVoice-ASR on a GPU"
    )


def test_the_registry_imports_no_model() -> None:
    code = "import sys, dropscribe.models.registry; print(sorted({'pocketsphinx', 'torch', 'av'} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "[]"

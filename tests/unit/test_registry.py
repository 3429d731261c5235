"""Which engine the settings mean on this machine, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dropscribe.core import engines, gpus
from dropscribe.core.engine_settings import engine_groups
from dropscribe.core.errors import ModelUnavailableError, SettingsError, UsageError
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.gpu import cublas
from dropscribe.models.scripted.settings import ScriptedSettings
from dropscribe.models.scripted.transcriber import Scripted
from tests import nvidia_smi

TINY = Path(__file__).parents[1] / "tiny" / "checkpoint"


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without an NVIDIA driver; the folder that PATH consists of."""
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(cublas, "LIBRARY", "libc.so.6")  # found, as cuBLAS is where somebody installed it
    return tmp_path


def install_gpus(folder: Path, *mebibytes: int) -> None:
    """A driver's tool that lists GPUs of this memory."""
    nvidia_smi.install_listing(folder, *(("NVIDIA L4", size) for size in mebibytes))


def scripted(script: str) -> Settings:
    return Settings().having(ScriptedSettings(script=script))


def chosen(**settings: str) -> tuple[str, str]:
    found = registry.choose(Settings(**settings))
    return found.spec.name, found.model


def test_an_engine_is_created_by_its_name() -> None:
    engine = registry.create("scripted", scripted('{"seconds": 0}'))
    assert isinstance(engine, Scripted)


def test_settings_reach_the_engine() -> None:
    with pytest.raises(SettingsError):
        registry.create("scripted", scripted('{"unknown": 1}'))


def test_an_engine_that_this_version_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry.SPECS, "vibevoice")
    with pytest.raises(
        ModelUnavailableError, match=r"vibevoice is not part of this version; use one of onnx, .*whisper"
    ):
        registry.create("vibevoice", Settings())


def test_core_knows_the_engines_that_there_are_and_the_settings_of_each() -> None:
    assert engines.names() == tuple(sorted(registry.SPECS))
    assert {name: group.table for name, group in engine_groups().items()} == {
        name: name for name in ("openai", "scripted", "vibevoice")
    }


def test_an_engine_that_cannot_translate_is_refused_before_it_is_loaded() -> None:
    for engine in ("vibevoice", "onnx", "openai"):
        with pytest.raises(SettingsError, match=f"the engine {engine} cannot translate"):
            registry.choose(Settings(engine=engine, task="translate"))
    assert registry.choose(Settings(engine="whisper", task="translate")).spec.name == "whisper"


def test_a_name_stands_for_itself() -> None:
    assert chosen(engine="scripted") == ("scripted", "")


def test_auto_is_whisper_base_on_a_machine_without_a_gpu(no_gpu: Path) -> None:
    found = registry.choose(Settings())
    assert (found.spec.name, found.model) == ("whisper", "base")
    assert found.sentence == (
        "Whisper base on the CPU: about one word in ten wrong in conversation; `--model small` is slower and better"
    )


@pytest.mark.parametrize("model", ["small", "Systran/faster-whisper-small"])
def test_a_known_checkpoint_of_whisper_that_is_named_is_read_by_whisper(no_gpu: Path, model: str) -> None:
    assert chosen(model=model) == ("whisper", model)
    install_gpus(no_gpu, 24_576)
    assert chosen(model=model) == ("whisper", model)
    assert "Whisper small on a GPU: " in registry.choose(Settings(model=model)).sentence


def test_a_folder_that_is_named_is_read_by_the_engine_of_its_layout(no_gpu: Path, tmp_path: Path) -> None:
    assert chosen(model=str(TINY)) == ("vibevoice", str(TINY))
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    assert chosen(model=str(tmp_path)) == ("whisper", str(tmp_path))


def test_auto_is_vibevoice_where_the_driver_is_loaded(no_gpu: Path) -> None:
    gpus.DRIVER.write_text("NVRM version: 1\n")
    assert chosen()[0] == "vibevoice"


def test_auto_is_vibevoice_where_a_gpu_can_hold_it(no_gpu: Path) -> None:
    for size in (6, 8, 24):
        install_gpus(no_gpu, size * 1024)
        found = registry.choose(Settings())
        assert (found.spec.name, found.model) == ("vibevoice", "microsoft/VibeVoice-ASR-HF")
        assert found.sentence == f"VibeVoice-ASR on a GPU of {size} GB"


def test_auto_is_whisper_turbo_where_no_gpu_can_hold_vibevoice(no_gpu: Path) -> None:
    install_gpus(no_gpu, 4_096)
    assert chosen() == ("whisper", "turbo")
    assert registry.choose(Settings()).sentence == (
        "Whisper turbo on a GPU in int8: one of its best checkpoints; VibeVoice-ASR needs a GPU of 6 GB or more"
    )
    install_gpus(no_gpu, 5_120)
    assert "Whisper turbo on a GPU: " in registry.choose(Settings()).sentence
    install_gpus(no_gpu, 2_048)
    assert chosen() == ("whisper", "base")


def test_auto_leaves_a_gpu_alone_on_which_whisper_cannot_compute(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpus(no_gpu, 4_096)
    monkeypatch.setattr(cublas, "LIBRARY", "libno-such-library.so.12")
    found = registry.choose(Settings())
    assert (found.spec.name, found.model) == ("whisper", "base")
    assert found.sentence.startswith("Whisper base on the CPU: ")
    assert found.sentence.endswith("the GPU is not used, because Whisper needs cuBLAS 12 for that")


def test_a_process_that_is_pinned_to_a_gpu_decides_by_that_one(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_gpus(no_gpu, 4_096, 24_576)
    assert chosen()[0] == "vibevoice"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0")
    assert chosen() == ("whisper", "turbo")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert chosen() == ("whisper", "base")


@pytest.mark.parametrize("engine", ["auto", "whisper", "vibevoice"])
def test_the_speaker_encoder_is_refused_as_a_model(engine: str, no_gpu: Path) -> None:
    for model in ("campplus", "csukuangfj/speaker-embedding-models"):
        with pytest.raises(
            ModelUnavailableError, match=r"distinguishes speakers and does not transcribe; .* tiny, base"
        ):
            chosen(engine=engine, model=model)


def test_a_mistyped_name_is_refused_before_a_worker_is_started(no_gpu: Path) -> None:
    with pytest.raises(UsageError, match="smal is not an id of Hugging Face, and not one of tiny, base, small"):
        registry.choose(Settings(model="smal"))


def test_auto_says_what_to_install_where_nothing_can_run(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelUnavailableError, match=r"no speech model.*pip install -c .*\[local\]"):
        registry.choose(Settings())


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dropscribe.models.whisper.transcriber", raising=False)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelUnavailableError, match=r"whisper cannot be .*pip install -c .*\[whisper\]"):
        registry.create("whisper", Settings())


def test_a_package_that_is_missing_is_noticed_without_importing_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.SPECS["scripted"].require()
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelUnavailableError, match=r"faster_whisper is not.*pip install -c .*\[whisper\]"):
        registry.SPECS["whisper"].require()


def test_every_optional_engine_names_the_package_that_it_needs() -> None:
    assert all(bool(spec.package) == bool(spec.extra) for spec in registry.SPECS.values())


def test_without_torch_the_extra_for_gpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dropscribe.models.vibevoice.transcriber", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelUnavailableError, match=r"vibevoice cannot be imported: .*pip install -c .*\[gpu\]"):
        registry.create("vibevoice", Settings())


def test_an_engine_that_needs_nothing_but_cannot_be_imported_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(registry.SPECS["scripted"], target="dropscribe.models.no_such_module:Scripted")
    monkeypatch.setitem(registry.SPECS, "scripted", broken)
    with pytest.raises(ModuleNotFoundError):
        registry.create("scripted", Settings())


def test_the_registry_imports_no_model() -> None:
    heavy = {"torch", "av", "ctranslate2", "faster_whisper", "onnxruntime"}
    code = f"import sys, dropscribe.models.registry; print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "[]"

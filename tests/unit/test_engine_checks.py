"""What the doctor says of the engine, its packages, its weights and each GPU."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from dropscribe.admin.check import engine_checks
from dropscribe.admin.check.checks import Finding, Severity
from dropscribe.core import gpus
from dropscribe.core.gpus import Gpu
from dropscribe.core.nvidia_smi import MIB
from dropscribe.core.settings_loading import load
from dropscribe.models import registry
from dropscribe.models.checkpoints import hub_cache, known
from dropscribe.models.gpu import cublas, cuda_support
from dropscribe.models.gpu.cuda_support import CudaSupport
from dropscribe.models.gpu.probe import PackageImport, Probe, ProbeReport
from tests import nvidia_smi

PLAIN = load({})
SCRIPTED = load({"DROPSCRIBE_ENGINE": "scripted"})
VIBEVOICE = load({"DROPSCRIBE_ENGINE": "vibevoice"})
FLEET = load({"DROPSCRIBE_ENGINE": "vibevoice", "DROPSCRIBE_DATABASE_URL": "postgresql://db/x"})
CARD = Gpu(0, "GPU-1", 24_576 * MIB, 24_000 * MIB, "580.95.05", "NVIDIA L4", (8, 9))
COMPUTING = CudaSupport("torch", "2.13.0", "13.0", computes=True)


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that programs are looked for in, on a machine without a driver and without weights."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(cublas, "LIBRARY", "libc.so.6")  # found, as cuBLAS is where somebody installed it
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def named(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def examine(settings=SCRIPTED) -> list[Finding]:
    return list(engine_checks.examine(settings))


def test_no_gpu_is_well_unless_the_engine_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_checks, "_tried", lambda *_: iter(()))
    assert named(examine(), "gpu") == Finding("gpu", Severity.OK, "none; not needed")
    assert named(examine(VIBEVOICE), "gpu").level == Severity.FAIL
    assert named(examine(FLEET), "gpu").level == Severity.WARN  # another host may have one


def test_each_engine_that_runs_beside_others_is_looked_at(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in registry.SPECS["vibevoice"].imports:  # the real ones take the child ten seconds to import
        (tools / f"{package}.py").touch()
    monkeypatch.syspath_prepend(tools)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    found = examine(load({}, overrides={"engines": "vibevoice,whisper:small,scripted"}))
    assert named(found, "gpu").finding == "none, and vibevoice needs one"
    engines = [one for one in found if one.name == "engine"]
    assert [one.level for one in engines] == [Severity.OK, Severity.FAIL, Severity.OK]
    assert "faster_whisper is not installed" in engines[1].finding
    assert len([one for one in found if one.name == "packages"]) == 2


def test_a_driver_without_its_tool_is_warned_of() -> None:
    gpus.DRIVER.touch()
    assert named(examine(), "gpu").level == Severity.WARN


def test_gpus_are_listed_with_what_auto_would_choose_on_each(tools: Path) -> None:
    nvidia_smi.install_listing(tools, ("NVIDIA L4", 23_034), ("NVIDIA T400", 4_096), ("NVIDIA GB10", "[N/A]"))
    found = examine()
    assert [(one.name, one.level) for one in found if one.name.startswith("gpu")] == [
        ("gpu 0", Severity.OK),
        ("gpu 1", Severity.OK),
        ("gpu 2", Severity.OK),
    ]
    described = (
        "NVIDIA L4, 23034 MiB, driver 580.95.05, compute capability 8.9; auto there: VibeVoice-ASR on a GPU of 22 GB"
    )
    assert named(found, "gpu 0").finding == described
    assert "auto there: Whisper turbo on a GPU in int8: " in named(found, "gpu 1").finding
    assert "VibeVoice-ASR needs a GPU of 6 GB" in named(found, "gpu 1").finding
    assert named(found, "gpu 2").finding.startswith("NVIDIA GB10, the machine's memory, driver")


def test_only_gpus_that_were_given_are_listed(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.install_machine(tools, "eight")
    monkeypatch.setenv(gpus.VARIABLE, "6,2")
    assert [one.name for one in examine() if one.name.startswith("gpu")] == ["gpu 0", "gpu 1"]
    monkeypatch.setenv(gpus.VARIABLE, "")
    assert named(examine(), "gpu").finding == "none of this machine's 8: CUDA_VISIBLE_DEVICES gives it none; not needed"


def test_a_broken_driver_fails_and_a_lost_card_is_warned_of(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "mismatch")
    assert named(examine(), "gpu").level == Severity.FAIL
    assert "mismatch" in named(examine(), "gpu").finding
    nvidia_smi.install_machine(tools, "lost_card")
    assert named(examine(), "gpu").level == Severity.WARN
    assert named(examine(), "gpu 0").level == Severity.OK


@pytest.mark.parametrize("here", [False, True])
def test_the_engine_is_told_with_its_checkpoint_and_whether_that_is_here(here: bool) -> None:
    if here:
        base = known.find("base")
        assert base
        hub_cache.snapshot(base.id, base.revision).mkdir(parents=True)
    told = named(examine(PLAIN), "engine").finding
    assert told.startswith("auto: whisper; Whisper base on the CPU: about one word in ten wrong")
    ending = "is here" if here else "(147.9 MB) is fetched at the first start"
    assert told.endswith(f"Systran/faster-whisper-base@ebe41f70 {ending}")


def test_weights_of_any_checkpoint_are_told(tools: Path) -> None:
    model = "microsoft/VibeVoice-ASR-HF"
    assert engine_checks.weights(model) == f"{model} is not here and is fetched at the first start"
    (hub_cache.repository(model) / "refs").mkdir(parents=True)
    (hub_cache.repository(model) / "refs" / "main").write_text("0123456789abcdef")
    hub_cache.snapshot(model, "0123456789abcdef").mkdir(parents=True)
    assert engine_checks.weights(model) == f"{model}@01234567 is here"
    assert engine_checks.weights(str(tools)) == f"the weights in {tools}"
    assert engine_checks.weights("/nowhere") == "/nowhere is not a folder"
    assert engine_checks.weights("") == ""


def test_an_engine_without_its_package_fails_and_its_gpus_are_listed_all_the_same(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi.install_machine(tools, "one")
    monkeypatch.setitem(sys.modules, "torch", None)
    found = examine(load({}))
    assert named(found, "engine").level == Severity.FAIL
    assert "torch is not installed" in named(found, "engine").finding
    assert "[gpu]" in named(found, "engine").remedy
    assert "auto there: VibeVoice-ASR" in named(found, "gpu 0").finding


def test_the_packages_are_imported_in_a_child_and_a_kernel_is_tried_on_the_card(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "one")
    found = examine(load({"DROPSCRIBE_ENGINE": "whisper"}))
    assert named(found, "packages").level == Severity.OK
    assert named(found, "packages").finding.startswith("ctranslate2 4.")
    card = named(found, "gpu 0")
    assert card.level == Severity.FAIL
    assert "ctranslate2 cannot compute on GPU 0 (NVIDIA L4): CUDA failed with error" in card.finding
    assert "in a container, start it with its GPUs" in card.remedy


def test_a_package_that_breaks_is_named_whatever_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sound.py").write_text("__version__ = '3.1'\nprint('{a line that is not ours')\n")
    (tmp_path / "broken.py").write_text("raise OSError('libcuda.so.1: cannot open shared object file')\n")
    (tmp_path / "crashing.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.syspath_prepend(tmp_path)
    report = Probe.start(["sound", "broken", "crashing", "never"]).end()
    assert report == ProbeReport(
        (
            PackageImport("sound", "3.1"),
            PackageImport("broken", "", "OSError: libcuda.so.1: cannot open shared object file"),
            PackageImport("crashing", "", "it ends the process with SIGILL"),
        )
    )


def test_a_kernel_is_tried_where_cuda_numbers_cards_as_the_driver_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "telling.py").write_text(f"import os\n__version__ = os.environ['{gpus.ORDER}']\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(gpus.ORDER, raising=False)
    assert Probe.start(["telling"]).end().imports == (PackageImport("telling", "PCI_BUS_ID"),)
    monkeypatch.setenv(gpus.ORDER, "FASTEST_FIRST")  # somebody's own choice stays
    assert Probe.start(["telling"]).end().imports == (PackageImport("telling", "FASTEST_FIRST"),)


@pytest.mark.parametrize(
    ("package", "settings", "level"),
    [
        ("torch", VIBEVOICE, Severity.FAIL),
        ("torch", FLEET, Severity.WARN),
        ("flash_attn", VIBEVOICE, Severity.WARN),
    ],
)
def test_a_package_that_cannot_be_imported_fails_unless_it_is_optional(package: str, settings, level: Severity) -> None:
    broken = PackageImport(package, "", "ImportError: undefined symbol")
    found = engine_checks.imports_finding(settings, registry.SPECS["vibevoice"], [broken])
    assert (found.level, found.finding) == (level, f"{package} cannot be imported: ImportError: undefined symbol")


def test_a_card_on_which_a_kernel_ran_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    report = ProbeReport((PackageImport("torch", "2.13.0"), PackageImport("bitsandbytes", "0.50.2")), COMPUTING)
    found = engine_checks.gpu_finding(VIBEVOICE, CARD, report, registry.SPECS["vibevoice"])
    assert found.level == Severity.OK
    assert "a kernel ran (driver 580.95.05, torch 2.13.0 built for CUDA 13.0)" in found.finding
    monkeypatch.setattr(cuda_support, "bitsandbytes_binaries", lambda: ["11.8", "12.8"])
    found = engine_checks.gpu_finding(VIBEVOICE, CARD, report, registry.SPECS["vibevoice"])
    assert found.level == Severity.WARN
    assert "bitsandbytes has no binary for CUDA 13.0 (it has: 11.8, 12.8)" in found.finding


def test_a_card_that_others_fill_is_no_failure() -> None:
    full = replace(COMPUTING, computes=False, said="CUDA out of memory. Tried to allocate 2.00 MiB.")
    found = engine_checks.gpu_finding(VIBEVOICE, CARD, ProbeReport((), full), registry.SPECS["vibevoice"])
    assert (found.level, found.remedy.partition(":")[0]) == (Severity.WARN, "free the memory of this GPU")


def test_a_card_that_was_not_tried_since_the_process_crashed_fails() -> None:
    crashed = ProbeReport((PackageImport("torch", "", "it ends the process with SIGSEGV"),))
    found = engine_checks.gpu_finding(VIBEVOICE, CARD, crashed, registry.SPECS["vibevoice"])
    assert found.level == Severity.FAIL
    assert found.finding.endswith("nothing was computed: it ends the process with SIGSEGV")


def test_a_kernel_that_ends_its_process_is_told_with_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = "import os, signal\n__version__ = '2'\ndef __getattr__(name): os.kill(os.getpid(), signal.SIGSEGV)\n"
    (tmp_path / "torch.py").write_text(crashing)
    monkeypatch.syspath_prepend(tmp_path)
    report = Probe.start(["torch"], "torch", "GPU-1").end()
    assert report == ProbeReport((PackageImport("torch", "2"),), None, "it ends the process with SIGSEGV")
    assert Probe.start(["torch"]).end().ending == ""  # it had nothing to compute
    found = engine_checks.gpu_finding(VIBEVOICE, CARD, report, registry.SPECS["vibevoice"])
    assert found.level == Severity.FAIL
    assert found.finding.endswith("nothing was computed: it ends the process with SIGSEGV")
    assert "dmesg" in found.remedy
    in_fleet = engine_checks.gpu_finding(FLEET, CARD, report, registry.SPECS["vibevoice"])
    assert in_fleet.level == Severity.WARN


def test_a_card_that_is_left_alone_for_want_of_a_library_is_warned_of(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi.install_machine(tools, "one")
    found = named(examine(load({"DROPSCRIBE_ENGINE": "onnx", "DROPSCRIBE_MODEL": "/srv/export"})), "gpu 0")
    assert found.level == Severity.WARN
    assert "onnxruntime cannot compute on GPU 0 (NVIDIA L4): it is a build for the CPU" in found.finding
    assert "auto there: " in found.finding
    assert found.remedy.startswith("pip uninstall onnxruntime, then pip install onnxruntime-gpu")

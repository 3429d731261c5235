"""Why a worker cannot use its GPU: by the packages of this environment as they are, and by versions that meet."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import ctranslate2
import pytest
import torch

from dropscribe.core import gpus
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.gpus import Gpu
from dropscribe.core.nvidia_smi import MIB
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.checkpoints import known
from dropscribe.models.gpu import compatibility, cublas, cuda_support, memory
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.gpu.cuda_support import CudaSupport
from dropscribe.models.gpu.placement import Placement
from dropscribe.models.vibevoice import transcriber
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.whisper import checkpoint, memory_budget
from dropscribe.models.whisper import transcriber as whisper
from dropscribe.worker.runtime import gpu
from tests import nvidia_smi

CARD = Gpu(0, "GPU-1", 24_576 * MIB, 24_000 * MIB, "580.95.05", "NVIDIA L4", (8, 9))
TORCH = CudaSupport("torch", "2.13.0", "13.0", computes=False, built_for=("sm_75", "sm_80", "sm_90", "compute_120"))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that programs are looked for in, on a machine with one card."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(gpus.VARIABLE, "0")
    nvidia_smi.install_machine(tmp_path, "one")
    return tmp_path


@pytest.mark.parametrize(
    ("support", "card", "said"),
    [
        (
            replace(TORCH, version="2.13.0+cpu", cuda=""),
            CARD,
            r"on GPU 0 \(NVIDIA L4\): it is a build for the CPU \(driver 580.* CPU\); install a torch for CUDA 13",
        ),
        (
            TORCH,
            replace(CARD, driver="570.86.15"),
            r"needs driver 580 or newer \(driver 570\.86.* CUDA 13\.0\); update .* or install .* for CUDA 12",
        ),
        (
            TORCH,
            replace(CARD, name="Tesla V100", capability=(7, 0)),
            r"no kernels for compute capability 7\.0 .*; install a torch",
        ),
        (
            replace(TORCH, said="CUDA driver initialization failed, you might not have a CUDA gpu."),
            CARD,
            r"initialization failed.*; in a container, start it with its GPUs \(docker run --gpus all\); on a host, re",
        ),
        (replace(TORCH, said="Error 802: system not yet initialized"), CARD, "nvidia-fabricmanager"),
        (CudaSupport("ctranslate2", "4.8.5", "12", said="libcublas.so.12 is not found"), CARD, "nvidia-cublas-cu12"),
        (CudaSupport("ctranslate2", "4.8.5", ""), CARD, "install a CTranslate2 for CUDA 13"),
        (CudaSupport("onnxruntime", "1.31.1"), CARD, "pip uninstall onnxruntime, then pip install onnxruntime-gpu"),
    ],
)
def test_the_reason_is_told_with_the_versions_and_the_next_step(support: CudaSupport, card: Gpu, said: str) -> None:
    with pytest.raises(ModelUnavailableError, match=said):
        compatibility.require(support, card)


def test_what_computes_is_not_doubted() -> None:
    compatibility.require(replace(TORCH, computes=True), replace(CARD, driver="1"))


@pytest.mark.parametrize(
    ("capability", "covered"),
    [((7, 5), True), ((8, 9), True), ((9, 0), True), ((10, 0), False), ((7, 0), False), ((12, 1), True), (None, True)],
)
def test_kernels_run_on_cards_of_their_generation_and_programs_on_later_ones(
    capability: tuple[int, int] | None, covered: bool
) -> None:
    assert compatibility.covers(TORCH.built_for, capability) == covered


@pytest.mark.parametrize(("driver", "newest"), [("580.95.05", 13), ("570.1", 12), ("470.256.02", 11), ("390.1", 11)])
def test_a_driver_runs_programs_of_its_time_and_older_ones(driver: str, newest: int) -> None:
    assert compatibility.newest_cuda(driver) == newest


def test_bitsandbytes_needs_a_binary_for_the_cuda_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = cuda_support.bitsandbytes_binaries()
    assert compatibility.lacking_binary("13.1", binaries) == ""  # one of the same major version does
    assert "no binary for CUDA 14.0 (it has: 11.8, " in compatibility.lacking_binary("14.0", binaries)
    monkeypatch.setattr(torch.version, "cuda", "14.0")
    transcriber._require_binary(Precision.BF16, torch.device("cuda"))
    transcriber._require_binary(Precision.NF4, torch.device("cpu"))
    with pytest.raises(ModelUnavailableError, match="no binary for CUDA 14"):
        transcriber._require_binary(Precision.NF4, torch.device("cuda"))


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("vibevoice", r"torch cannot compute on GPU 0 \(NVIDIA L4\): .*driver 580\.95\.05, torch \d"),
        ("whisper", r"ctranslate2 cannot compute on GPU 0 .*driver 580\.95\.05, ctranslate2 \d.* built for CUDA 12"),
        ("onnx", r"onnxruntime cannot compute on GPU 0 .*onnxruntime \d.* built for the CPU.*onnxruntime-gpu"),
    ],
)
def test_a_worker_that_is_pinned_to_a_gpu_does_not_compute_on_the_cpu(engine: str, said: str, tools: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=said):
        registry.create(engine, Settings(), Placement(gpu.pin("0")))


def test_a_worker_that_is_not_pinned_says_that_it_leaves_the_gpu_alone(
    tools: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(model=str(tools / "nothing"))
    with caplog.at_level(logging.WARNING), pytest.raises(ModelUnavailableError, match="is not an ONNX export"):
        registry.create("onnx", settings)
    assert caplog.messages[0].startswith("computing on the CPU, as onnxruntime cannot compute on GPU 0 (NVIDIA L4): it")


def test_onnx_gets_a_worker_for_each_gpu_where_its_runtime_has_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = registry.SPECS["onnx"]
    assert not registry.uses_gpus(onnx)
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "onnxruntime" / cuda_support.PROVIDER_LIBRARY).touch()
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.uses_gpus(onnx)


def test_whisper_gets_one_for_each_gpu_where_cublas_is_and_vibevoice_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "LIBRARY", "libno.so.12")
    assert not registry.uses_gpus(registry.SPECS["whisper"])
    monkeypatch.setattr(cublas, "LIBRARY", "libc.so.6")
    assert registry.uses_gpus(registry.SPECS["whisper"])
    assert registry.uses_gpus(registry.SPECS["vibevoice"])
    assert not registry.uses_gpus(registry.SPECS["scripted"])


def test_cublas_is_found_in_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "LIBRARY", "libwheel.so.12")
    monkeypatch.setattr(cublas, "WHEELS", "wheels")
    assert not cublas.is_found()
    folder = tmp_path / "wheels" / "cublas" / "lib"
    folder.mkdir(parents=True)
    libraries = Path("/usr/lib").rglob("libm.so.6")
    shutil.copy(next(libraries), folder / "libwheel.so.12")
    monkeypatch.syspath_prepend(tmp_path)
    assert cublas.is_found()


def test_a_worker_may_plan_with_its_share_of_a_card_but_with_no_more_than_is_free(tools: Path) -> None:
    assert memory.plannable(1) == 23_034 * MIB, "but for its own context, all of the card is free"
    assert memory.plannable(0.5) == 23_034 * MIB // 2
    assert memory.first_gpu().startswith("GPU-5a1de6e3")


def test_the_context_that_a_process_has_on_its_card_is_counted_once(tools: Path) -> None:
    nvidia_smi.install(tools, f"echo '0, GPU-0, 8192, 4000, {nvidia_smi.DRIVER}, [N/A], 8.9, NVIDIA L4'")
    assert memory.plannable(1) == 4_000 * MIB + CUDA_CONTEXT
    half = int((4_000 * MIB - memory_budget.WORKING_BYTES) / (1 + memory_budget.WORKING_SHARE))
    whisper._require_memory("just fits what is free", half, "float16", Settings())
    with pytest.raises(ModelUnavailableError, match=r"about 4\.8 GB .* may take 4\.8 GB"):
        whisper._require_memory("does not", half + 2, "float16", Settings())


@pytest.mark.parametrize(("mebibytes", "kind"), [(4_096, "int8_float16"), (6_144, "float16"), (23_034, "float16")])
def test_auto_computes_turbo_in_int8_on_a_card_of_4_gb(
    tools: Path, monkeypatch: pytest.MonkeyPatch, mebibytes: int, kind: str
) -> None:
    nvidia_smi.install_listing(tools, ("NVIDIA T400", mebibytes))
    supported = {"float16", "int8_float16"}
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda _: supported)
    turbo = 1_617_884_929
    assert whisper._kind_that_fits("float16", turbo, Settings()) == kind
    assert whisper._kind_that_fits("float16", turbo, Settings(precision="fp16")) == "float16"
    supported.remove("int8_float16")  # as on a card that is too old for it
    assert whisper._kind_that_fits("float16", turbo, Settings()) == "float16"


def test_a_card_whose_memory_is_not_known_is_not_planned_with(tools: Path) -> None:
    nvidia_smi.install_machine(tools, "shared_memory")
    assert memory.plannable(1) is None


def test_a_checkpoint_that_does_not_fit_its_part_of_the_card_is_refused_with_the_numbers(tools: Path) -> None:
    turbo = 1_620_000_000
    whisper._require_memory("turbo", turbo, "float16", Settings())
    with pytest.raises(ModelUnavailableError, match=r"about 2\.8 GB .* may take 2\.4 GB; .*_GPU_SHARE \(now 0\.1\)"):
        whisper._require_memory("turbo", turbo, "float16", Settings(gpu_share=0.1))
    whisper._require_memory("turbo", turbo, "int8_float16", Settings(gpu_share=0.1))
    nvidia_smi.install_machine(tools, "shared_memory")  # whose memory is not told
    whisper._require_memory("turbo", turbo, "float16", Settings(gpu_share=0.1))


def test_a_model_whose_file_does_not_tell_is_planned_as_it_is_published(tmp_path: Path) -> None:
    for content in (bytes(400), b"\x06\0\0\0", b"\x63\0\0\0" + bytes(96)):
        (tmp_path / known.WEIGHTS).write_bytes(content)
        assert checkpoint.half_size(tmp_path) == len(content)


def test_whispers_checkpoints_take_about_what_the_documents_say() -> None:
    turbo, large = 1_620_000_000, 3_090_000_000
    assert 2.7e9 < memory_budget.taken(turbo, "float16", 1) < 3 * 2**30
    assert 4.5e9 < memory_budget.taken(large, "float16", 1) < 5e9
    assert memory_budget.taken(large, "int8_float16", 1) < memory_budget.taken(large, "float16", 1)
    assert memory_budget.taken(large, "float16", 2) - memory_budget.taken(large, "float16", 1) > 1e9

"""What the packages of this environment can do with CUDA, by trying it. Imports the package that is asked about.

A package may find no GPU for many reasons and say none of them; `compatibility` tells which it is.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from dropscribe.core.error_translation import first_line
from dropscribe.models.gpu import cublas
from dropscribe.models.gpu.package_files import files

# ModelProto of one node: b = a + a, one number of float32 each.
ADDITION = bytes.fromhex(
    "08083a350a0e0a01610a0161120162220341646412016"
    "75a0f0a0161120a0a08080112040a020801620f0a0162120a0a08080112040a02080142040a00100d"
)
GPU_PROVIDER = "CUDAExecutionProvider"
PROVIDER_LIBRARY = "capi/libonnxruntime_providers_cuda.so"  # in the package onnxruntime, where it can use CUDA
BINARY = re.compile(r"libbitsandbytes_cuda(\d\d)(\d+)\.")


@dataclass(frozen=True, slots=True)
class CudaSupport:
    """One package: the version of CUDA that it is built for, empty in a build for the CPU, `?` where it does not tell.

    `computes` says that a kernel ran, and `said` what CUDA said if none did. `built_for` are the architectures that its
    kernels are for (`sm_90`), or programs that the driver can translate (`compute_90`); empty where it does not tell.
    """

    package: str
    version: str
    cuda: str = ""
    computes: bool = False
    said: str = ""
    built_for: tuple[str, ...] = ()


def examine(package: str) -> CudaSupport:
    """What `torch`, `ctranslate2` or `onnxruntime` can do on the GPU that this process sees. Raises ImportError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is what is found out here
        return EXAMINERS[package]()


def _torch() -> CudaSupport:
    """What PyTorch was built for, and whether it computes on the GPU."""
    import torch

    said = _failure(lambda: (torch.ones(16, device="cuda") * 2).sum().item())
    built_for = tuple(torch.cuda.get_arch_list())
    return CudaSupport(
        package="torch",
        version=torch.__version__,
        cuda=torch.version.cuda or "",
        computes=not said,
        said=said,
        built_for=built_for,
    )


def _ctranslate2() -> CudaSupport:
    """What CTranslate2 was built for, and whether it computes on the GPU."""
    import ctranslate2
    import numpy as np

    is_for_cpu = "not compiled with CUDA" in _failure(lambda: ctranslate2.get_supported_compute_types("cuda"))
    ones = ctranslate2.StorageView.from_array(np.ones(16, np.float32))
    said = _failure(lambda: ones.to_device(ctranslate2.Device.cuda)) or _failure(cublas.require)
    cuda = "" if is_for_cpu else cublas.CUDA
    return CudaSupport(
        package="ctranslate2",
        version=ctranslate2.__version__,
        cuda=cuda,
        computes=not said,
        said=said,
    )


def _onnxruntime() -> CudaSupport:
    """What ONNX Runtime was built for, and whether it computes on the GPU."""
    import onnxruntime

    is_for_gpus = GPU_PROVIDER in onnxruntime.get_available_providers()
    cuda = (str(getattr(onnxruntime, "cuda_version", "")) or "?") if is_for_gpus else ""
    session = onnxruntime.InferenceSession(ADDITION, providers=[GPU_PROVIDER, "CPUExecutionProvider"])
    computes = session.get_providers()[0] == GPU_PROVIDER  # it takes the CPU where the GPU fails, and goes on
    said = "" if computes else f"{GPU_PROVIDER} cannot be loaded; its log says why"
    return CudaSupport(
        package="onnxruntime",
        version=onnxruntime.__version__,
        cuda=cuda,
        computes=computes,
        said=said,
    )


EXAMINERS: dict[str, Callable[[], CudaSupport]] = {
    "torch": _torch,
    "ctranslate2": _ctranslate2,
    "onnxruntime": _onnxruntime,
}


def _failure(action: Callable[[], object]) -> str:
    """The first line of the error that an action ends with; empty if it succeeds."""
    try:
        action()
    except (RuntimeError, ValueError, AssertionError, OSError) as error:
        return first_line(error)
    return ""


def bitsandbytes_binaries() -> list[str]:
    """The versions of CUDA that the installed bitsandbytes has binaries for (`13.0`), in order. Imports nothing."""
    names = " ".join(map(attrgetter("name"), files("bitsandbytes", "libbitsandbytes_cuda*")))
    return sorted(map(".".join, BINARY.findall(names)))


def has_gpu_provider() -> bool:
    """Whether the installed ONNX Runtime is one for GPUs. Imports nothing."""
    return any(files("onnxruntime", PROVIDER_LIBRARY))

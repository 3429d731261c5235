"""Pure: why a package cannot compute on a GPU, by the versions of driver, CUDA and package, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.gpus import Gpu
from dropscribe.models.gpu.cuda_support import CudaSupport

# The oldest driver that runs programs of any CUDA of that major version; newer drivers run older ones too.
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
OLDEST_DRIVERS = {11: 450, 12: 525, 13: 580}
BUILDS = {  # what to do where a package is built for the CPU, or for another CUDA than the driver runs
    "torch": "install a torch for CUDA {cuda}: https://pytorch.org/get-started/locally",
    "ctranslate2": "install a CTranslate2 for CUDA {cuda}: https://opennmt.net/CTranslate2/installation.html",
    "onnxruntime": "pip uninstall onnxruntime, then pip install onnxruntime-gpu for CUDA {cuda}",
}
REMEDIES = (  # by what CUDA says, in lower case
    ("is not found", "install cuBLAS 12 (pip install nvidia-cublas-cu12)"),
    ("system not yet initialized", "start NVIDIA's fabric manager: systemctl start nvidia-fabricmanager"),
    ("all cuda-capable devices are busy", "another process has this GPU for itself: end it, or nvidia-smi -c DEFAULT"),
    ("out of memory", "free the memory of this GPU: nvidia-smi shows which process uses it"),
    ("", "in a container, start it with its GPUs (docker run --gpus all); on a host, reboot"),
)


def require(support: CudaSupport, gpu: Gpu) -> None:
    """Raise ModelUnavailableError, with all versions and the next step, where a package cannot compute on a GPU."""
    if support.computes:
        return
    why, remedy = _reason(support, gpu)
    problem = f"{support.package} cannot compute on GPU {gpu.index} ({gpu.name}): {why} ({versions(support, gpu)})"
    raise ModelUnavailableError(problem, remedy=remedy)


def versions(support: CudaSupport, gpu: Gpu) -> str:
    """What belongs in every report of such a failure."""
    built = f"built for CUDA {support.cuda}" if support.cuda else "built for the CPU"
    return f"driver {gpu.driver}, {support.package} {support.version} {built}"


def _reason(support: CudaSupport, gpu: Gpu) -> tuple[str, str]:
    """Why it cannot, and what to do: the first of these that applies."""
    cuda = _major(support.cuda)
    needed = OLDEST_DRIVERS.get(cuda, 0)
    other_build = BUILDS[support.package].format(cuda=newest_cuda(gpu.driver))
    update = f"update the NVIDIA driver, or {other_build}"
    capability = ".".join(map(str, gpu.capability or ()))
    reasons = (
        (not support.cuda, "it is a build for the CPU", other_build),
        (needed > _major(gpu.driver), f"CUDA {cuda} needs driver {needed} or newer", update),
        (not covers(support.built_for, gpu.capability), f"no kernels for compute capability {capability}", other_build),
        (True, support.said, next(remedy for mark, remedy in REMEDIES if mark in support.said.lower())),
    )
    return next((why, remedy) for applies, why, remedy in reasons if applies)


def newest_cuda(driver: str) -> int:
    """The newest major version of CUDA that a driver runs; the oldest known one where it runs none.

    >>> newest_cuda("570.133.20")
    12
    """
    runs = [cuda for cuda, oldest in OLDEST_DRIVERS.items() if _major(driver) >= oldest]
    return max(runs, default=min(OLDEST_DRIVERS))


def covers(built_for: Sequence[str], capability: tuple[int, int] | None) -> bool:
    """Whether kernels for these architectures run on a card of that compute capability.

    Those of `sm_86` run on 8.6 and on later ones of the same major version; a driver translates `compute_90` for 9.0
    and all later ones. What is not known is taken for granted.

    >>> covers(["sm_80", "sm_90"], (8, 6)), covers(["sm_80", "sm_90"], (12, 0))
    (True, False)
    """
    if not built_for or capability is None:
        return True
    return any(_runs(architecture, capability) for architecture in built_for)


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Does code that was built for an architecture run on a card of this compute capability?

    Machine code (`sm_90`) runs on cards of the same generation, an intermediate form (`compute_90`) also on newer ones:

    >>> _runs("sm_90", (12, 0)), _runs("compute_90", (12, 0)), _runs("sm_80", (8, 6))
    (False, True, True)
    """
    kind, _, number = architecture.partition("_")
    built = divmod(int(number.rstrip("af")), 10)
    return built <= capability and (kind == "compute" or built[0] == capability[0])


def lacking_binary(cuda: str, binaries: Sequence[str]) -> str:
    """Why bitsandbytes cannot quantize for that CUDA; empty where it has a binary of the same major version.

    >>> lacking_binary("13.0", ["12.8", "13.0"])
    ''
    """
    if _major(cuda) in map(_major, binaries):
        return ""
    there = ", ".join(binaries) or "none"
    return f"bitsandbytes has no binary for CUDA {cuda} (it has: {there})"


def _major(version: str) -> int:
    """The first number of a version; 0 where there is none.

    >>> _major("12.8"), _major("570.133.20"), _major("")
    (12, 570, 0)
    """
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0

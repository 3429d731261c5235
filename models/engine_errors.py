"""What PyTorch's and CTranslate2's errors mean for a worker: out of memory, beyond repair, or just this chunk."""

from __future__ import annotations

from contextlib import AbstractContextManager

from dropscribe.core import error_translation
from dropscribe.core.errors import ModelError, ModelFatalError, ModelMemoryError

# After one of these every later call in the process fails too, since the CUDA context is lost. The names are those
# of CUDA's error strings and of the codes that the libraries add to them.
STICKY = (
    "device-side assert",
    "cudaerrorassert",
    "illegal memory access",
    "cudaerrorillegaladdress",
    "unspecified launch failure",
    "cudaerrorlaunchfailure",
    "launch timed out",
    "illegal instruction",
    "misaligned address",
    "invalid program counter",
    "hardware stack error",
    "uncorrectable ecc",
    "unknown error",
    "device is lost",
    "fallen off the bus",
    "no cuda-capable device",
    "cudnn_status_execution_failed",
    "cublas_status_execution_failed",
)
NO_MEMORY = (
    "out of memory",  # the GPU's
    "can't allocate memory",  # PyTorch's on a CPU
    "failed to allocate memory",  # ONNX Runtime's
)


def is_sticky(error: BaseException) -> bool:
    """Whether the process can do nothing more on its GPU."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(mark in text for mark in STICKY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory did not suffice; what was freed meanwhile may be enough next time."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(mark in text for mark in NO_MEMORY)


def translate(error: BaseException) -> ModelError:
    """The error of ours that says what to do about one of theirs."""
    first = error_translation.first_line(error)
    if is_sticky(error):
        return ModelFatalError(f"the GPU's context is lost: {first}", remedy="the worker must restart")
    if is_out_of_memory(error):
        return ModelMemoryError(
            f"out of GPU memory: {first}", remedy="lower DROPSCRIBE_MODEL_SLOTS or DROPSCRIBE_CHUNK_SECONDS"
        )
    return ModelError(f"the model failed: {type(error).__name__}: {first}", remedy="see the worker's log")


def translated() -> AbstractContextManager[None]:
    """Raise ModelError or ModelFatalError in the place of an error of PyTorch's."""
    return error_translation.translated(RuntimeError, into=translate)  # GPU errors have no other class in common

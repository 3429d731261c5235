"""What PyTorch's and CTranslate2's errors mean for a worker: out of memory, beyond repair, or just this chunk."""

from __future__ import annotations

from dropscribe.core.errors import ModelError, ModelFatalError

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


def is_sticky(error: BaseException) -> bool:
    """Whether the process can do nothing more on its GPU."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(mark in text for mark in STICKY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory did not suffice; what was freed meanwhile may be enough next time."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def translate(error: BaseException) -> ModelError:
    """The error of ours that says what to do about one of theirs."""
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    if is_sticky(error):
        return ModelFatalError(f"the GPU's context is lost: {first}", remedy="the worker has to start anew")
    if is_out_of_memory(error):
        return ModelError(
            f"out of GPU memory: {first}", remedy="lower DROPSCRIBE_MODEL_SLOTS or DROPSCRIBE_CHUNK_SECONDS"
        )
    return ModelError(f"the model failed: {type(error).__name__}: {first}", remedy="see the worker's log")

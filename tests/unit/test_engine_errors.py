"""What the errors of PyTorch and CTranslate2 mean."""

from __future__ import annotations

import pytest
import torch

from dropscribe.core.errors import ModelError, ModelFatalError, ModelMemoryError
from dropscribe.models import engine_errors


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: unspecified launch failure",
        "CUDA error: misaligned address",
        "CUDA error: uncorrectable ECC error encountered",
        "CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
    ],
)
def test_an_error_that_loses_the_gpu_ends_the_process(message: str) -> None:
    fault = engine_errors.translate(RuntimeError(message))
    assert isinstance(fault, ModelFatalError)
    assert fault.exit_code == 70
    assert message.partition("\n")[0] in str(fault)
    assert "\n" not in str(fault)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA failed with error out of memory"),
        MemoryError("footprint"),
        RuntimeError("Failed to allocate memory for requested buffer of size 4096"),
    ],
)
def test_a_lack_of_memory_says_what_to_lower(error: BaseException) -> None:
    fault = engine_errors.translate(error)
    assert engine_errors.is_out_of_memory(error)
    assert type(fault) is ModelMemoryError
    assert "lower DROPSCRIBE_MODEL_SLOTS or DROPSCRIBE_CHUNK_SECONDS" in str(fault)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), RuntimeError("")])
def test_any_other_error_belongs_to_its_chunk(error: RuntimeError) -> None:
    fault = engine_errors.translate(error)
    assert type(fault) is ModelError
    assert "RuntimeError" in str(fault)
    assert not engine_errors.is_out_of_memory(error)


def test_a_message_that_only_talks_of_an_assert_is_not_taken_for_the_gpus() -> None:
    assert not engine_errors.is_sticky(ValueError("device-side assert"))

"""How full the GPU is, as far as it can be told without one; tests/gpu has the rest."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from dropscribe.models.gpu import memory


def test_a_process_without_torch_is_on_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert memory.look() is None
    assert "torch" not in sys.modules


def test_a_gpu_that_does_not_answer_any_more_gives_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[int, int]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    cuda = SimpleNamespace(is_initialized=lambda: True, mem_get_info=broken)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert memory.look() is None

"""How many model workers of a host share its memory, as each one that starts is told."""

from __future__ import annotations

import os
import socket

from dropscribe.core.gpus import Gpu
from dropscribe.core.settings import Settings
from dropscribe.models.gpu.placement import Placement
from dropscribe.store import fleet
from dropscribe.store.session import Database
from dropscribe.worker import service
from dropscribe.worker.service import Identity

HOST = socket.gethostname()
CARD = Gpu(0, "GPU-1", None, None, "580.95.05", "NVIDIA L4")


def register(store: Database, name: str, *, host: str = HOST, role: str = "model", gpu: str = "") -> None:
    fleet.register(store, name, host=host, pid=os.getpid(), role=role, state="loading", gpu=gpu)


def test_those_of_the_same_host_that_compute_on_the_cpu_share_its_memory(store: Database) -> None:
    settings = Settings()
    register(store, "first")
    assert service._placement(settings, store, Identity("first", "model")) == Placement(workers=1)
    register(store, "second")
    register(store, "with a card", gpu="GPU-1")
    register(store, "no model", role="cpu")
    register(store, "elsewhere", host="other")
    assert service._placement(settings, store, Identity("second", "model")) == Placement(workers=2)
    assert service._placement(settings, store, Identity("with a card", "model", CARD)).gpu == CARD
    fleet.leave(store, "first")
    assert service._placement(settings, store, Identity("second", "model")) == Placement(workers=1)

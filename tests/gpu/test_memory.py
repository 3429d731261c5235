"""What is taken of a GPU's memory is what was planned, also by two workers on one card."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.gpu import choose_attention
from bench.random_model import build
from bench.roofline import TOLERANCE, Memory, Work
from bench.serving import Clock, Meter, Subject, batched_rates, encoder_speed
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.models.base import TranscribeRequest
from dropscribe.models.gpu import memory
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import EncoderDimensions, ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.transcriber import VibeVoice, make_plan

ROOT = Path(__file__).parents[2]
MIDDLE = ModelDimensions(  # 0.4 B parameters: large enough that what is not planned does not weigh
    layers=12,
    hidden=1536,
    heads=12,
    kv_heads=2,
    head_dim=128,
    intermediate=6144,
    vocabulary=32_768,
    encoders=(EncoderDimensions(latent=64, filters=16), EncoderDimensions(latent=128, filters=16)),
)
FILL = """
import sys, torch
held = []
for size in (2**30, 2**26, 2**22):
    try:
        while True:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
    except torch.OutOfMemoryError:
        pass
print("full", flush=True)
sys.stdin.read()
"""
LISTEN = """
import json, sys
from tests.gpu.test_memory import listen
listen(sys.argv[1], float(sys.argv[2]), lambda found: (print(json.dumps(found), flush=True), sys.stdin.read()))
"""
SHARE = 0.45  # of the card for each of two workers; the rest is for what else is on it


@pytest.fixture(scope="module", params=["bf16", "int8", "nf4"])
def subject(request: pytest.FixtureRequest, device: torch.device) -> Subject:
    precision = Precision(request.param)
    meter = Meter(device)
    memory = meter.available()
    meter.reset()
    attention = choose_attention("auto", precision, device, MIDDLE)
    before = meter.held()
    model = build(MIDDLE, precision, device)
    taken = Memory("weights", memory_plan.weights(MIDDLE, precision), meter.held() - before)
    assert abs(taken.ratio - 1) <= TOLERANCE, taken
    return Subject(model, MIDDLE, precision, attention, memory, 32, Clock(600), meter)


def test_serving_takes_the_memory_that_is_planned(subject: Subject) -> None:
    rates, parts = batched_rates(subject, Work.of(MIDDLE, 300), 8)
    taken = {part.part: part for part in parts}
    assert rates.requests == 8
    assert abs(taken["cache and graphs"].ratio - 1) <= TOLERANCE, taken
    assert taken["prompts"].ratio <= 1 + TOLERANCE, taken  # room for a context that these do not have
    assert 0.6 <= taken["all but encoder and reserve"].ratio <= 1 + TOLERANCE, taken


def test_encoding_takes_no_more_memory_than_is_planned(subject: Subject) -> None:
    _, [taken] = encoder_speed(subject, Work.of(MIDDLE, 300))
    assert 0.5 <= taken.ratio <= 1 + TOLERANCE, taken


def settings(checkpoint: Path, **changes: object) -> Settings:
    chosen = {"engine": "vibevoice", "model": str(checkpoint), "precision": "bf16", "max_new_tokens": 32}
    return Settings.model_validate(chosen | {"chunk_seconds": 60} | changes)


def listen(checkpoint: str, share: float, tell: Callable[[dict[str, Any]], object]) -> None:
    """Read a second of noise, and tell what came of it and what was planned while the model is still there."""
    model = VibeVoice.load(settings(Path(checkpoint), gpu_share=share))
    audio = np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE).astype(np.float32)
    found = model.transcribe(audio, TranscribeRequest())
    planned = {"slots": model.plan.slots, "total": model.plan.total, "vram": model.plan.vram}
    tell(planned | {"prompt": found.prompt_tokens, "output": found.output_tokens})
    model.close()


def another_worker(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process on the same card."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_second_worker_refuses_a_card_that_the_first_has_filled(checkpoint: Path, device: torch.device) -> None:
    make_plan(settings(checkpoint, chunk_seconds=1800), device)
    with another_worker(FILL) as first:
        assert first.stdout
        assert first.stdout.readline() == "full\n"
        with pytest.raises(ModelUnavailableError, match=r"does not fit: bf16 with chunks of .* GB \(weights"):
            make_plan(settings(checkpoint, chunk_seconds=1800), device)
        first.communicate()


def both(checkpoint: Path, share: float) -> list[dict[str, Any]]:
    """What two workers that start at the same moment tell; each still has its model when the other tells."""
    workers = [another_worker(LISTEN, str(checkpoint), str(share)) for _ in range(2)]
    try:
        return [json.loads(told(worker)) for worker in workers]
    finally:
        for worker in workers:
            worker.communicate(timeout=150)


def told(worker: subprocess.Popen[str]) -> str:
    """The first line of JSON; what comes before it is chatter of libraries."""
    assert worker.stdout
    return next(line for line in worker.stdout if line.startswith("{"))


def test_two_workers_that_start_at_once_share_a_card_that_has_room_for_both(checkpoint: Path) -> None:
    first, second = both(checkpoint, 1)
    assert (first["prompt"], first["output"]) == (second["prompt"], second["output"])
    assert first["output"] > 0


def test_two_workers_with_a_share_each_plan_within_it(checkpoint: Path, device: torch.device) -> None:
    total = torch.cuda.get_device_properties(device).total_memory
    first, second = both(checkpoint, SHARE)
    assert max(first["vram"], second["vram"]) <= SHARE * total
    assert first["total"] <= first["vram"]
    assert second["total"] <= second["vram"]
    assert first["total"] + second["total"] <= total
    assert (first["prompt"], first["output"]) == (second["prompt"], second["output"])


def test_a_share_that_is_too_small_is_refused_by_its_name(checkpoint: Path, device: torch.device) -> None:
    small = CUDA_CONTEXT / torch.cuda.get_device_properties(device).total_memory  # nothing is left for a model
    with pytest.raises(ModelUnavailableError, match=r"does not fit: .*raise DROPSCRIBE_GPU_SHARE \(now 0\."):
        make_plan(settings(checkpoint, gpu_share=small), device)


def test_the_metrics_tell_what_tensors_hold_and_what_is_free(device: torch.device) -> None:
    before = memory.look()
    tensor = torch.zeros(64 << 20, dtype=torch.uint8, device=device)
    found = memory.look()
    assert found
    assert found.held >= tensor.numel() + (before.held if before else 0)
    assert 0 < found.free < found.total
    assert found.total == pytest.approx(torch.cuda.get_device_properties(device).total_memory, rel=0.05)

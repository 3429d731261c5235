"""Does a converted checkpoint of VibeVoice-ASR answer as its source does? Both read two seconds of noise.

The source computes in fp32, the copy in its own format: activations that overflow show here, and nowhere else.
"""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dropscribe.core import machine_memory
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.base import Audio
from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.encoder import Encoder

SECONDS = 2.0
LEVEL = 0.05  # of full scale: about -26 dBFS, as loud as recordings are made
ROOM = 1.2  # times the weights in fp32: what loading and two seconds take beside them


@dataclass(frozen=True, slots=True)
class SmokeComparison:
    """Over the logits of every position: the largest difference, the difference relative to their size, and the share
    of positions at which the same token is the likeliest."""

    absolute: float
    relative: float
    same_token: float


def hindrance(layout: str, parameters: int) -> str:
    """Why this machine cannot read with a checkpoint of so many numbers in fp32; empty if it can."""
    if layout != "transformers":
        return "only VibeVoice-ASR in the layout of transformers is run"
    need, there = int(parameters * 4 * ROOM), machine_memory.total()
    return f"in fp32 its source takes {need / 1e9:.1f} GB of memory, of {there / 1e9:.1f} GB" if need > there else ""


def compare(source: Path, copy: Path, precision: str) -> SmokeComparison:
    """Read with both, one after the other. Raises ModelUnavailableError when one cannot, or gives no numbers."""
    wanted, found = logits(source, "fp32"), logits(copy, precision)
    if not bool(found.isfinite().all()):
        raise ModelUnavailableError(
            f"in {precision} the model computes numbers that overflow",
            remedy="use bf16, or keep more in fp32 (--keep-fp32)",
        )
    error = found - wanted
    same = (found.argmax(-1) == wanted.argmax(-1)).double().mean()
    return SmokeComparison(float(error.abs().max()), float(error.norm() / wanted.norm()), float(same))


@torch.no_grad()
def logits(folder: Path, precision: str) -> torch.Tensor:
    """Logits (tokens, vocabulary) in float32 of two seconds of noise and the request to transcribe it, on the CPU."""
    loaded = loader.load(str(folder), precision, device=torch.device("cpu"), attention="sdpa")
    model, processor = loaded.model, loaded.processor
    audio = _noise()
    inputs = processor.apply_transcription_request(audio, processor_kwargs={"sampling_rate": SAMPLE_RATE})
    heard = Encoder(model).encode(audio, threading.Event())
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    embeddings[inputs["input_ids"] == processor.audio_token_id] = heard
    answer: torch.Tensor = model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits[0].float()
    del loaded, model
    gc.collect()  # of the first model, before the second comes
    return answer


def _noise() -> Audio:
    """Noise that is always the same."""
    return np.random.default_rng(0).normal(0, LEVEL, round(SECONDS * SAMPLE_RATE)).astype(np.float32)

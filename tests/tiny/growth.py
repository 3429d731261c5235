"""Grow a trained language model by two layers without losing what it knows: `python -m tests.tiny.growth STATE`.

Long recordings need more steps of thought before the layer that looks into the audio: where in the recording a frame
is, where its turn began, which word of the turn it holds. A layer put before the first tells every position where it
stands, by heads that are built and not learned; another, before the pointer's, starts as one that does nothing.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.tiny.checkpoint import FEW_LAYERS, Model, build_model, build_processor

Weights = dict[str, Tensor]
ORIGIN = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 3}  # the layer that each layer starts as
NEW = (0, 3)
LANDMARKS = (" are", " helpful")  # words that stand at the prompt's begin and nowhere else
TURNED, STEADY = 8, 15  # pairs of a head's dimensions: one wave in 628 positions, and one in 35,000
TURNED_QUICKER = 5  # one in 112
CERTAIN = 14.0  # logit of the landmarks: what is left for a thousand others is nothing
SWING = 2.0  # by how much a landmark's logit changes with the distance
STRENGTH = 0.04  # of the norm of what was there: each head adds so much, and training makes more of it


def deepen(old: Weights) -> Weights:
    """The weights with two layers more, which add nothing to what passes through them."""
    pattern = re.compile(r"(model\.language_model\.layers\.)(\d+)(\..*)")
    if f"model.language_model.layers.{FEW_LAYERS}.input_layernorm.weight" in old:
        raise ValueError("only a language model of four layers can grow; this one has more: it may have grown before")
    grown = {name: weight for name, weight in old.items() if not pattern.match(name)}
    for name, weight in old.items():
        if match := pattern.match(name):
            for layer in (new for new, origin in ORIGIN.items() if origin == int(match[2])):
                silent = layer in NEW and match[3] in {".self_attn.o_proj.weight", ".mlp.down_proj.weight"}
                grown[f"{match[1]}{layer}{match[3]}"] = torch.zeros_like(weight) if silent else weight.clone()
    return grown


def _detectors(wanted: Tensor, others: Tensor) -> Tensor:
    """(2, hidden): linear functions that are one on one of two vectors, and as near zero as can be on all others."""
    scatter = others.T @ others / len(others) + 1e-4 * torch.eye(others.shape[1])
    spread = torch.linalg.solve(scatter, wanted.T)
    detectors: Tensor = torch.linalg.solve(wanted @ spread, spread.T)
    return detectors


@torch.no_grad()
def tell_positions(model: Model, audio: Tensor) -> float:
    """Set the first layer's heads to look at two landmarks of the prompt, one of them by its distance: what they
    bring back goes round with the position, like the hands of two clocks. `audio` (frames, hidden) are embeddings.

    Returns the largest share of a landmark that any other token or frame is taken for, as a deviation.
    """
    tokenizer = build_processor().tokenizer
    ids = [tokenizer.encode(word)[0] for word in LANDMARKS]
    embeddings = model.get_input_embeddings().weight
    layer: Any = model.model.language_model.layers[0]
    layer.input_layernorm.weight.fill_(1)
    normed = torch.nn.functional.rms_norm(torch.cat([embeddings, audio]), embeddings.shape[1:])
    rest = torch.ones(len(normed), dtype=torch.bool)
    rest[ids] = False
    detectors = _detectors(normed[ids], normed[rest])
    _aim(layer.self_attn, detectors, STRENGTH * float(audio.norm(dim=1).mean()))
    return float((normed[rest] @ detectors.T).std())


def _aim(attention: Any, detectors: Tensor, strength: float) -> None:
    size = attention.head_dim
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.bias.zero_()
    attention.q_proj.weight.zero_()
    attention.k_proj.weight.zero_()
    queries = attention.q_proj.bias.view(-1, size)
    keys = attention.k_proj.weight.view(-1, size, detectors.shape[1])
    values = attention.v_proj.weight.view(-1, size, detectors.shape[1])
    outputs = attention.o_proj.weight.view(detectors.shape[1], -1, size)
    for head, query in enumerate(queries):
        group = head // attention.num_key_value_groups
        pair, quarter = (TURNED, TURNED_QUICKER)[group], math.pi / 2 * (head % 2)
        query[STEADY] = 1
        query[pair], query[pair + size // 2] = math.cos(quarter), math.sin(quarter)
        keys[group, STEADY] = CERTAIN * math.sqrt(size) * detectors.sum(0)
        keys[group, pair] = SWING * math.sqrt(size) * detectors[0]
        values[group, 0] = detectors[0] - detectors[1]
        direction = torch.randn(detectors.shape[1], generator=torch.Generator().manual_seed(head))
        outputs[:, head, 0] = strength * direction / direction.norm()


def main() -> None:
    from tests.tiny.lengthen import hear
    from tests.tiny.mixing import Mixer
    from tests.tiny.targets import Builder, collate
    from tests.tiny.train import phrases

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("state", type=Path)
    path = parser.parse_args().state
    state = torch.load(path, weights_only=True)
    processor = build_processor()
    model = build_model(processor)
    model.load_state_dict(deepen(state["model"]))
    mixer = Mixer(phrases(path.parent, held_out=False), seed=0)
    audio = hear(model, collate([mixer.talk(30) for _ in range(8)], Builder(processor)))
    print(f"landmarks are told from all else within {tell_positions(model, audio.flatten(0, 1).float()):.2f}")
    torch.save({**state, "model": model.state_dict(), "best": math.inf}, path)


if __name__ == "__main__":
    main()

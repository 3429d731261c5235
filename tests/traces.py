"""The speech encoder as a graph, traced once in a process for each number format, which takes ten seconds of CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dropscribe.models.onnx.graphs import Built, Weight

Trace = Callable[[Any], Built]


def remembered(trace: Trace) -> Trace:
    """As `trace`, of which each model is traced once; every caller gets a copy, to be given weights."""
    known: dict[tuple[str, str], Built] = {}

    def copy(model: Any) -> Built:
        key = (str(model.dtype), model.config.to_json_string())
        if key not in known:
            known[key] = trace(model)
        return copied(known[key])

    return copy


def copied(built: Built) -> Built:
    """The same graph, whose weights have no values yet."""
    model = built.model.clone()
    values = model.graph.initializers
    return replace(
        built, model=model, weights=tuple(Weight(values[one.value.name], one.source, one.form) for one in built.weights)
    )

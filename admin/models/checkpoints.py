"""`dropscribe models list`, `show` and `fetch`: the checkpoints of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import byte_progress
from dropscribe.models import inventory, registry
from dropscribe.models.checkpoints import hub_cache, known
from dropscribe.models.inventory import Checkpoint


def show_all(context: Context, folders: Sequence[Path], *, verify: bool, as_json: bool) -> bool:
    """All checkpoints of the cache, of these folders, and the one in use; True if nothing is wrong with any."""
    used = Path(context.settings.model).expanduser()
    found = inventory.survey([*folders, *([used] if context.settings.model and used.is_dir() else [])])
    if verify:
        found = _verified(context, found)
    if as_json:
        render.write_json({"cache": str(hub_cache.cache()), "models": [_facts(context, one) for one in found]})
    elif not found:
        context.out.print(
            f"no checkpoints in {render.safe(str(hub_cache.cache()))}; fetch one: dropscribe models fetch ID"
        )
    else:
        _table(context, found)
    return not any(one.problems for one in found)


def show_one(context: Context, source: str, *, revision: str, verify: bool, as_json: bool) -> bool:
    """Everything about one checkpoint; True if nothing is wrong with it. Raises UsageError."""
    folder, commit = hub_cache.locate(source, revision)
    found = inventory.examine(folder, known.identity(source) if commit else "", commit)
    if verify:
        [found] = _verified(context, [found])
    if as_json:
        render.write_json(_facts(context, found))
    else:
        _describe(context, found)
    return not found.problems


def fetch(context: Context, name: str, *, revision: str, as_json: bool) -> bool:
    """Fetch a checkpoint and say what it is; True if nothing is wrong with it."""
    from dropscribe.models.checkpoints import fetch as fetching

    with byte_progress(context.err) as tell:
        _, commit = fetching.fetch(name, revision, tell)
    return show_one(context, known.identity(name), revision=commit, verify=False, as_json=as_json)


def _verified(context: Context, found: Sequence[Checkpoint]) -> list[Checkpoint]:
    with byte_progress(context.err) as tell:
        return [inventory.verify(one, tell) for one in found]


def _facts(context: Context, one: Checkpoint) -> dict[str, Any]:
    return asdict(one) | {
        "folder": str(one.folder),
        "problems": list(one.problems),
        "in_use": _in_use(context, one),
    }


def _in_use(context: Context, one: Checkpoint) -> bool:
    """It is what the settings name; of an id without a revision, every snapshot may be."""
    settings = context.settings
    if not settings.model:
        return False
    if not one.revision:
        return Path(settings.model).expanduser().resolve() == one.folder
    return known.identity(settings.model) == one.name and settings.revision in {"", one.revision}


def _table(context: Context, found: Sequence[Checkpoint]) -> None:
    table = render.table(
        "model", "revision", "layout", "precision", "size", "state", whole=("revision",), right=("size",)
    )
    for one in found:
        name = f"{one.name} (in use)" if _in_use(context, one) else one.name
        row = (render.safe(name), one.revision[:12], one.layout, _precision(one), render.size(one.size), _state(one))
        table.add_row(*row)
    context.out.print(table)
    for one in found:
        for problem in one.problems:
            context.remark("warning", f"{one.name}: {problem}", "yellow")


def _precision(one: Checkpoint) -> str:
    """`int8`, or the dtype of most bytes and how many others there are: `BF16`, `F16 + F32`."""
    return one.quantization or " + ".join(one.dtypes) or "-"


def _state(one: Checkpoint) -> str:
    if one.problems:
        return render.count(len(one.problems), "problem")
    return "verified" if one.verified else "complete"


def _describe(context: Context, one: Checkpoint) -> None:
    facts = render.facts()
    rows = [
        ("model", one.name),
        ("folder", str(one.folder)),
        ("revision", one.revision or "none: it is a folder"),
        ("layout", _layout(one)),
        ("architecture", one.architecture or "-"),
        ("quantized", one.quantization or "no"),
        (
            "weights",
            ", ".join(f"{dtype} {render.size(octets)}" for dtype, octets in one.dtypes.items()) or _quantized(one),
        ),
        *([("numbers", f"{one.parameters:,} in {render.count(one.tensors, 'tensor')}")] if one.tensors else []),
        ("size", f"{render.size(one.size)} in {render.count(one.files, 'file')}"),
        ("state", _state(one)),
    ]
    for name, what in rows:
        facts.add_row(name, render.safe(what))
    context.out.print(facts)
    for problem in one.problems:
        context.remark("warning", problem, "yellow")


def _quantized(one: Checkpoint) -> str:
    """Of an export whose weights no number format of a tensor describes."""
    return one.quantization if one.layout == "onnx" and one.quantization else "none"


def _layout(one: Checkpoint) -> str:
    if one.layout == "speakers":
        return f"{one.layout}, dropscribe tells speakers apart with it"
    reader = registry.READERS.get(one.layout)
    return f"{one.layout}, {f'the engine {reader}' if reader else 'no engine of dropscribe'} transcribes with it"

"""`dropscribe models list`, `show` and `fetch`: the checkpoints of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import repeat
from operator import attrgetter
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
    cache = str(hub_cache.cache())
    context.answer(
        lambda: {"cache": cache, "models": [*map(_facts, repeat(context), found)]},
        lambda: _list(context, found, f"no checkpoints in {cache}; fetch one: dropscribe models fetch ID"),
        as_json=as_json,
    )
    return _are_whole(found)


def _are_whole(found: Iterable[Checkpoint]) -> bool:
    """Is nothing wrong with any of them?"""
    return not any(map(attrgetter("problems"), found))


def show_one(context: Context, source: str, *, revision: str, verify: bool, as_json: bool) -> bool:
    """Everything about one checkpoint; True if nothing is wrong with it. Raises UsageError."""
    folder, commit = hub_cache.locate(source, revision)
    found = inventory.examine(folder, known.identity(source) if commit else "", commit)
    if verify:
        [found] = _verified(context, [found])
    context.answer(lambda: _facts(context, found), lambda: _describe(context, found), as_json=as_json)
    return _are_whole([found])


def fetch(context: Context, name: str, *, revision: str, as_json: bool) -> bool:
    """Fetch a checkpoint and say what it is; True if nothing is wrong with it."""
    from dropscribe.models.checkpoints import fetch as fetching

    with byte_progress(context.err) as tell:
        _, commit = fetching.fetch(name, revision, tell)
    return show_one(context, known.identity(name), revision=commit, verify=False, as_json=as_json)


def _verified(context: Context, found: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The checkpoints with every file read and held against its hash."""
    with byte_progress(context.err) as tell:
        return [inventory.verify(one, tell) for one in found]


def _facts(context: Context, one: Checkpoint) -> dict[str, Any]:
    """A checkpoint as docs/cli.md describes it."""
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


def _list(context: Context, found: Sequence[Checkpoint], nothing: str) -> None:
    """The checkpoints as a table, then what is wrong with some."""
    if not found:
        context.say(nothing)
        return
    columns = ("model", "revision", "layout", "precision", "size", "state")
    rows = map(_row, repeat(context), found)
    context.out.print(render.table(*columns, rows=rows, whole=("revision",), right=("size",)))
    for one in found:
        for problem in one.problems:
            context.warn(f"{one.name}: {problem}")


def _row(context: Context, one: Checkpoint) -> list[str]:
    """The cells of a checkpoint."""
    name = f"{one.name} (in use)" if _in_use(context, one) else one.name
    return [render.safe(name), one.revision[:12], one.layout, _precision(one), render.size(one.size), _state(one)]


def _precision(one: Checkpoint) -> str:
    """`int8`, or the dtype of most bytes and how many others there are: `BF16`, `F16 + F32`."""
    return one.quantization or " + ".join(one.dtypes) or "-"


def _state(one: Checkpoint) -> str:
    """How far a checkpoint can be trusted."""
    if one.problems:
        return render.count(len(one.problems), "problem")
    return "verified" if one.verified else "complete"


def _describe(context: Context, one: Checkpoint) -> None:
    """All that is known of one checkpoint, and what is wrong with it."""
    weights = ", ".join(f"{dtype} {render.size(octets)}" for dtype, octets in one.dtypes.items())
    rows = [
        ("model", one.name),
        ("folder", str(one.folder)),
        ("revision", one.revision or "none: it is a folder"),
        ("layout", _layout(one)),
        ("architecture", one.architecture or "-"),
        ("quantized", one.quantization or "no"),
        ("weights", weights or _quantized(one)),
        ("numbers", f"{one.parameters:,} in {render.count(one.tensors, 'tensor')}" if one.tensors else ""),
        ("size", f"{render.size(one.size)} in {render.count(one.files, 'file')}"),
        ("state", _state(one)),
    ]
    context.out.print(render.facts(rows))
    for problem in one.problems:
        context.warn(problem)


def _quantized(one: Checkpoint) -> str:
    """Of an export whose weights no number format of a tensor describes."""
    return one.quantization if one.layout == "onnx" and one.quantization else "none"


def _layout(one: Checkpoint) -> str:
    """The layout, and which engine reads it."""
    if one.layout == "speakers":
        return f"{one.layout}, dropscribe distinguishes speakers with it"
    if one.layout == "original":
        return f"{one.layout}; `dropscribe models quantize` and `export` make a copy that workers load"
    reader = registry.READERS.get(one.layout)
    return f"{one.layout}, {f'the engine {reader}' if reader else 'no engine of dropscribe'} transcribes with it"

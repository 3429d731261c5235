"""`dropscribe models convert`: a checkpoint in another number format, with progress, and what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropscribe.admin.context import Context
from dropscribe.admin.models import pytorch
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import ReportBytes, byte_progress
from dropscribe.models.checkpoints.copy_check import CopyRun

if TYPE_CHECKING:
    from dropscribe.models.checkpoints.convert import Copied


def convert(
    context: Context,
    source: str,
    destination: Path,
    *,
    dtype: str,
    keep: list[str],
    mixed: bool,
    test: bool,
    revision: str,
    as_json: bool,
) -> None:
    """Write the copy and say what it is. Raises UsageError and ModelUnavailableError."""
    warnings: list[str] = []
    with byte_progress(context.err) as tell:
        tell("starting PyTorch", 0, 0)
        with pytorch.needed_by("converting", "gpu"):
            from dropscribe.models.checkpoints import convert as converting
            from dropscribe.models.checkpoints.convert_plan import Rules
        findings: dict[str, Any] = {}
        copied = converting.convert(
            source,
            destination,
            Rules(dtype, mixed, tuple(keep)),
            revision=revision,
            tell=tell,
            warn=partial(context.warn_and_keep, warnings),
            check=_tester(findings, tell) if test else None,
        )
    context.answer(
        lambda: asdict(copied) | {"folder": str(copied.folder), "test": findings or None, "warnings": warnings},
        lambda: context.out.print(render.facts([*_facts(copied), *_tested(findings)])),
        as_json=as_json,
    )


def _tester(findings: dict[str, Any], tell: ReportBytes) -> Callable[[Path, Path, Copied], None]:
    """A check that compares every number, and what the models answer where this machine can load them."""

    def check(source: Path, copy: Path, copied: Copied) -> None:
        """Compare the copy with its source number by number; then run both, where PyTorch and memory allow it."""
        from dropscribe.models import inventory
        from dropscribe.models.checkpoints import convert_check

        findings["tensors"] = asdict(convert_check.compare(source, copy, tell))
        pytorch.quieten()
        try:
            from dropscribe.models.vibevoice import smoke_comparison
        except ImportError as error:
            findings["not_run"] = f"running it needs more packages: {error}"
            return
        examined = inventory.examine(source)
        if reason := smoke_comparison.hindrance(examined.layout, examined.parameters):
            findings["not_run"] = reason
            return
        tell("transcribing two seconds of noise with both", 0, 0)
        findings["logits"] = asdict(smoke_comparison.compare(source, copy, copied.dtype))

    return check


def _facts(copied: Copied) -> Sequence[tuple[str, str]]:
    """What the copy is, for people."""
    return (
        ("copy", str(copied.folder)),
        ("weights", f"{render.size(copied.weights)}, of {render.size(copied.source_weights)}"),
        ("tensors", f"{copied.changed} of {copied.tensors} converted; {copied.fp32} are in fp32"),
        ("took", render.duration(copied.seconds)),
        ("to use it", _use(copied)),
        ("too small", f"{render.count(copied.vanished, 'number')} became 0" if copied.vanished else ""),
    )


def _use(copied: Copied) -> str:
    """How a worker takes it: by itself it computes in bf16 what is not quantized."""
    from dropscribe.models.checkpoints import hub_cache

    described = (copied.folder / "config.json").is_file()
    if not described or hub_cache.read_config(copied.folder).get("model_type") != "vibevoice_asr":
        return ""
    precision = "" if copied.dtype == "bf16" else f" DROPSCRIBE_PRECISION={copied.dtype}"
    return f"DROPSCRIBE_ENGINE=vibevoice DROPSCRIBE_MODEL={copied.folder}{precision}"


def _tested(findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was found out about the copy: how far its numbers and its output differ from the source."""
    if numbers := findings.get("tensors"):
        where = f", most in {numbers['tensor']}" if numbers["tensor"] else ""
        yield "numbers", f"differ by at most {numbers['absolute']:.2g}, {numbers['relative']:.2g} of their size{where}"
    if logits := findings.get("logits"):
        same = f"the likeliest token is the same at {logits['same_token']:.1%} of the positions"
        yield "logits", f"differ by {logits['relative']:.2%} of their size; {same}"
    if reason := findings.get("not_run"):
        yield "state", f"read back, every number compared; {CopyRun(not_run=reason)}"
    elif findings:
        yield "state", "checked: every number was compared, and it ran"

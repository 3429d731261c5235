"""What `dropscribe doctor` looks at for the engine: its packages, its weights, and whether it computes on each GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from operator import attrgetter
from pathlib import Path

from dropscribe.admin.check.checks import Finding, Severity, fetched, no_gpu, where_needed, worst
from dropscribe.core import gpus
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.core.gpus import Gpu, GpuListing
from dropscribe.core.nvidia_smi import MIB
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.checkpoints import hub_cache, known
from dropscribe.models.choice import ModelChoice
from dropscribe.models.engine_spec import EngineSpec
from dropscribe.models.gpu import compatibility, cuda_support
from dropscribe.models.gpu.cuda_support import CudaSupport
from dropscribe.models.gpu.probe import PackageImport, Probe, ProbeReport

QUANTIZER = "bitsandbytes"
BUSY = "out of memory"  # what CUDA says of a card that others fill, perhaps our own workers
CRASHED_REMEDY = "see the kernel's log (dmesg) about the driver, and install another version of the package"
NO_PROBE = ProbeReport(())


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings on the GPUs and on each engine that `up` would run."""
    listing = gpus.known()
    each = registry.each(settings)
    yield from _of_driver(each, listing)
    yield from chain.from_iterable(_of_model(one, listing.gpus) for one in each)


def _of_model(settings: Settings, found: Sequence[Gpu]) -> Iterator[Finding]:
    """The engine that the settings choose and its packages; of each GPU whether it can be used."""
    try:
        chosen = registry.choose(settings)
        chosen.spec.require()
    except (ModelUnavailableError, UsageError) as error:
        yield Finding("engine", where_needed(settings), error.problem, error.remedy)
        yield from (gpu_finding(settings, gpu) for gpu in found)
        return
    yield _of_engine(settings, chosen)
    yield from _tried(settings, chosen.spec, found)


def _of_driver(each: Sequence[Settings], listing: GpuListing) -> Iterator[Finding]:
    """What the NVIDIA driver says; the gravest finding of all engines where it lists no GPU."""
    level = Severity.FAIL if listing.is_broken else Severity.WARN
    remedy = "the other GPUs in this list are used; see docs/operations/machines.md, A worker does not use its GPU"
    yield from (Finding("gpu", level, remark, remedy) for remark in listing.remarks)
    if not (listing.gpus or listing.is_broken):
        yield max((no_gpu(one, listing) for one in each), key=lambda one: list(Severity).index(one.level))


def _of_engine(settings: Settings, chosen: ModelChoice) -> Finding:
    """Which engine and checkpoint the settings mean here, and where its weights are."""
    names = dict.fromkeys((settings.engine, chosen.spec.name))  # auto, and what it means
    found = "" if chosen.spec.remote else weights(chosen.model, settings.revision)
    told = (": ".join(names), chosen.sentence, found)
    return Finding("engine", Severity.OK, "; ".join(filter(None, told)))


def _tried(settings: Settings, spec: EngineSpec, found: Sequence[Gpu]) -> Iterator[Finding]:
    """What comes of the engine's packages in child processes, all at once: one for each GPU, or one without."""
    uuids = [*map(attrgetter("uuid"), found)] if spec.on_gpus and found else [""]
    probes = [Probe.start(_packages(spec), spec.computes_with, uuid) for uuid in uuids]
    reports = list(map(Probe.end, probes))
    yield imports_finding(settings, spec, reports[0].imports)
    for gpu, report in zip(found, chain(reports, repeat(reports[0])), strict=False):
        yield gpu_finding(settings, gpu, report, spec)


def _packages(spec: EngineSpec) -> list[str]:
    """Those of an engine, without the optional ones that are not installed."""
    lacking = {name for name in spec.optional if importlib.util.find_spec(name) is None}
    return [name for name in spec.imports if name not in lacking]


def imports_finding(settings: Settings, spec: EngineSpec, imports: Sequence[PackageImport]) -> Finding:
    """What the engine's packages are, and which of them cannot be imported."""
    levels = dict.fromkeys(spec.imports, where_needed(settings)) | dict.fromkeys(spec.optional, Severity.WARN)
    found = [Finding(one.package, levels[one.package] if one.error else Severity.OK, str(one)) for one in imports]
    if not found:
        return Finding("packages", Severity.OK, f"{spec.name} needs none")
    return Finding("packages", worst(found), ", ".join(map(str, imports)), spec.how_to_install)


def gpu_finding(
    settings: Settings, gpu: Gpu, report: ProbeReport = NO_PROBE, spec: EngineSpec | None = None
) -> Finding:
    """One GPU: what it is, what `auto` would choose there, and whether an engine that is meant for GPUs computes on it.

    One that cannot fails where it would get a worker, and is warned of where the CPU is used instead.
    """
    told = f"{_in_words(gpu)}; auto there: {registry.auto_on(settings, gpu).sentence}"
    sound = Finding(f"gpu {gpu.index}", Severity.OK, told)
    return _tried_on(settings, gpu, report, spec, sound) if spec and spec.on_gpus else sound


def _tried_on(settings: Settings, gpu: Gpu, report: ProbeReport, spec: EngineSpec, sound: Finding) -> Finding:
    """What came of a kernel; `sound` is what is said of a GPU that has not been tried."""
    if not report.support:
        why = "; ".join(filter(None, (*map(attrgetter("error"), report.imports), report.ending)))
        told = f"{sound.finding}; nothing was computed: {why}"
        remedy = CRASHED_REMEDY if report.ending else "see the finding on packages"
        return replace(sound, level=where_needed(settings), finding=told, remedy=remedy)
    try:
        compatibility.require(report.support, gpu)
    except ModelUnavailableError as error:
        bearable = BUSY in error.problem.lower() or not registry.uses_gpus(spec)
        level = Severity.WARN if bearable else where_needed(settings)
        return replace(sound, level=level, finding=f"{sound.finding}; {error.problem}", remedy=error.remedy)
    ran = f"{sound.finding}; a kernel ran ({compatibility.versions(report.support, gpu)})"
    lacking = _lacking(report.support, report.imports)
    level = Severity.WARN if lacking else Severity.OK
    return replace(sound, level=level, finding=f"{ran}{lacking}", remedy="pip install -U bitsandbytes")


def _lacking(support: CudaSupport, imports: Sequence[PackageImport]) -> str:
    """What bitsandbytes lacks, if the engine has it."""
    if QUANTIZER not in map(attrgetter("package"), imports):
        return ""
    lacking = compatibility.lacking_binary(support.cuda, cuda_support.bitsandbytes_binaries())
    return lacking and f"; {lacking}; a model in bf16 needs none"


def _in_words(gpu: Gpu) -> str:
    """A GPU by name, memory, driver and compute capability."""
    size = "the machine's memory" if gpu.memory is None else f"{gpu.memory // MIB} MiB"
    capability = f", compute capability {gpu.capability[0]}.{gpu.capability[1]}" if gpu.capability else ""
    return f"{gpu.name}, {size}, driver {gpu.driver}{capability}"


def weights(model: str, revision: str = "") -> str:
    """Which checkpoint that is, and whether its files are here; empty where none is named."""
    found = known.find(model, revision)
    if found:
        return fetched(found)
    return _located(model, revision) if model else ""


def _located(model: str, revision: str) -> str:
    """Where the weights are, or that they come at the first start."""
    try:
        folder, commit = hub_cache.locate(model, revision)
    except UsageError as error:
        absolute = Path(model).expanduser().is_absolute()
        return error.problem if absolute else f"{model} is not here and is fetched at the first start"
    return f"{known.title(model, commit)} is here" if commit else f"the weights in {folder}"

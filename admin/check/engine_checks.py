"""What `dropscribe doctor` looks at for the engine: its packages, its weights, and whether it computes on each GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from dropscribe.admin.check.checks import Finding, Severity, fetched, no_gpu, where_needed
from dropscribe.core import gpus
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.core.gpus import Gpu
from dropscribe.core.nvidia_smi import MIB
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.checkpoints import hub_cache, known
from dropscribe.models.engine_spec import EngineSpec
from dropscribe.models.gpu import compatibility, cuda_support
from dropscribe.models.gpu.probe import PackageImport, Probe, ProbeReport

QUANTIZER = "bitsandbytes"
BUSY = "out of memory"  # what CUDA says of a card that others fill, perhaps our own workers


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings on the engine and the GPUs."""
    try:
        listing = gpus.look()
    except ModelUnavailableError as error:
        yield Finding("gpu", Severity.FAIL, error.problem, error.remedy)
        listing = gpus.GpuListing()
    else:
        yield from _remarks(listing.remarks)
        if not listing.gpus:
            yield no_gpu(settings, listing)
    try:
        chosen = registry.choose(settings)
        chosen.spec.require()
    except ModelUnavailableError as error:
        yield Finding("engine", where_needed(settings), error.problem, error.remedy)
        yield from (gpu_finding(settings, gpu, ProbeReport(()), computes=False) for gpu in listing.gpus)
        return
    name = chosen.spec.name if chosen.spec.name == settings.engine else f"{settings.engine}: {chosen.spec.name}"
    told = (name, chosen.sentence, weights(chosen.model, settings.revision))
    yield Finding("engine", Severity.OK, "; ".join(filter(None, told)))
    yield from _tried(settings, chosen.spec, listing.gpus)


def _remarks(remarks: Sequence[str]) -> Iterator[Finding]:
    for remark in remarks:
        yield Finding("gpu", Severity.WARN, remark, "mend that; what is listed besides is used meanwhile")


def _tried(settings: Settings, spec: EngineSpec, found: Sequence[Gpu]) -> Iterator[Finding]:
    """What comes of the engine's packages in child processes, all at once: one for each GPU, or one without."""
    usable = found if registry.uses_gpus(spec) else ()
    packages = _packages(spec)
    probes = [Probe.start(packages, spec.computes_with, gpu.uuid) for gpu in usable]
    without = None if probes or not packages else Probe.start(packages)
    reports = [probe.end() for probe in probes]
    if packages:
        yield imports_finding(settings, spec, (without.end() if without else reports[0]).imports)
    for gpu in found:
        report = reports[gpu.index] if usable else ProbeReport(())
        yield gpu_finding(settings, gpu, report, computes=spec.on_gpus and bool(usable))


def _packages(spec: EngineSpec) -> list[str]:
    """Those of an engine, without the optional ones that are not installed."""
    return [name for name in spec.imports if name not in spec.optional or importlib.util.find_spec(name)]


def imports_finding(settings: Settings, spec: EngineSpec, imports: Sequence[PackageImport]) -> Finding:
    """What the engine's packages are, and which of them cannot be imported."""
    failed = [one for one in imports if one.error]
    if not failed:
        return Finding("packages", Severity.OK, ", ".join(f"{one.package} {one.version}".strip() for one in imports))
    needed = any(one.package not in spec.optional for one in failed)
    told = "; ".join(f"{one.package} cannot be imported: {one.error}" for one in failed)
    return Finding("packages", where_needed(settings) if needed else Severity.WARN, told, spec.how_to_install)


def gpu_finding(settings: Settings, gpu: Gpu, report: ProbeReport, *, computes: bool) -> Finding:
    """One GPU: what it is, whether the engine computes on it, and what `auto` would choose there."""
    name, told = f"gpu {gpu.index}", f"{_in_words(gpu)}; auto there: {registry.auto_on(settings, gpu).sentence}"
    if report.support is None:
        return _untried(name, told, report) if computes else Finding(name, Severity.OK, told)
    try:
        compatibility.require(report.support, gpu)
    except ModelUnavailableError as error:
        level = Severity.WARN if BUSY in report.support.said.lower() else where_needed(settings)
        return Finding(name, level, f"{_in_words(gpu)}; {error.problem}", error.remedy)
    told = f"{told}; a kernel ran ({compatibility.versions(report.support, gpu)})"
    quantizes = any(one.package == QUANTIZER for one in report.imports)
    lacking = compatibility.lacking_binary(report.support.cuda, cuda_support.bitsandbytes_binaries())
    if quantizes and lacking:
        return Finding(name, Severity.WARN, f"{told}; {lacking}", "pip install --upgrade bitsandbytes; bf16 needs none")
    return Finding(name, Severity.OK, told)


def _untried(name: str, told: str, report: ProbeReport) -> Finding:
    failed = next((one.error for one in report.imports if one.error), "the process that computes ended without a word")
    return Finding(name, Severity.FAIL, f"{told}; nothing was computed: {failed}", "see the finding on packages")


def _in_words(gpu: Gpu) -> str:
    size = "the machine's memory" if gpu.memory is None else f"{gpu.memory // MIB} MiB"
    capability = f", compute capability {gpu.capability[0]}.{gpu.capability[1]}" if gpu.capability else ""
    return f"{gpu.name}, {size}, driver {gpu.driver}{capability}"


def weights(model: str, revision: str = "") -> str:
    """Which checkpoint that is, and whether its files are here; empty where none is named."""
    found = known.find(model, revision)
    if found:
        return fetched(found)
    if not model:
        return ""
    try:
        folder, commit = hub_cache.locate(model, revision)
    except UsageError as error:
        absolute = Path(model).expanduser().is_absolute()
        return error.problem if absolute else f"{model} is not here and is fetched at the first start"
    return f"{known.title(model, commit)} is here" if commit else f"the weights in {folder}"

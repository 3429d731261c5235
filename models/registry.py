"""The speech models by name: which there are, which one this machine is to use, and how to load it.

A model's module is imported only when it is used, so a machine needs only the packages of its own model.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from dropscribe.core import engines, gpus, start_up
from dropscribe.core.engine_settings import engine_groups
from dropscribe.core.engines import AUTO
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.core.gpus import Gpu
from dropscribe.core.settings import Settings
from dropscribe.models import choice, inventory
from dropscribe.models.checkpoints import hub_cache, known
from dropscribe.models.choice import Machine, ModelChoice
from dropscribe.models.engine_spec import EngineSpec
from dropscribe.models.gpu import compatibility, cublas, cuda_support
from dropscribe.models.gpu.placement import ANYWHERE, Placement
from dropscribe.models.onnx import spec as onnx
from dropscribe.models.openai import spec as openai
from dropscribe.models.scripted import spec as scripted
from dropscribe.models.vibevoice import spec as vibevoice
from dropscribe.models.whisper import spec as whisper

if TYPE_CHECKING:
    from dropscribe.models.base import Transcriber  # numpy comes with it

log = logging.getLogger(__name__)

SPECS: dict[str, EngineSpec] = {
    spec.name: spec for spec in (onnx.SPEC, openai.SPEC, scripted.SPEC, vibevoice.SPEC, whisper.SPEC)
}
# The engine that reads a checkpoint, by its layout.
READERS = {"transformers": "vibevoice", "onnx": "onnx", "whisper": "whisper", "ctranslate2": "whisper"}


class _Engine(Protocol):
    def load(self, settings: Settings, placement: Placement, /) -> Transcriber:
        """Load the model and warm it up."""
        ...


def choose(settings: Settings) -> ModelChoice:
    """The engine and the checkpoint that these settings mean on this machine. Loads no model.

    Raises ModelUnavailableError when there is no such engine, nothing that could run here, or a model that does not
    transcribe; UsageError for a checkpoint's name that cannot be one; SettingsError for a task that the engine cannot
    do.
    """
    _refuse_speaker_encoder(settings.model)
    reads = _reader(settings) if settings.engine == AUTO else ""
    machine = look_at_machine()
    chosen = choice.choose(SPECS, settings.engine, settings.model, reads, machine)
    if settings.engine == AUTO and not machine.driver and not chosen.spec.is_installed:
        install = chosen.spec.how_to_install.replace(f"[{chosen.spec.extra}]", "[local]")
        raise ModelUnavailableError("no speech model can run on this machine", remedy=install)
    if chosen.spec.model and not Path(chosen.model).expanduser().is_dir():  # an engine that fetches checkpoints
        known.require_name(chosen.model)
    engines.require_task(chosen.spec.name, settings.task)
    if group := engine_groups().get(chosen.spec.name):
        settings.of(group).require()
    return chosen


def auto_on(settings: Settings, gpu: Gpu) -> ModelChoice:
    """What `auto` would choose for a worker on that GPU."""
    machine = Machine([gpu.memory] if gpu.memory else [], driver=True, cublas=cublas.is_found())
    return choice.choose(SPECS, AUTO, settings.model, _reader(settings), machine)


def choose_all(settings: Settings) -> list[ModelChoice]:
    """What each of the setting `engines` means, or the one of `engine` and `model`. Raises as `choose` does."""
    return list(map(choose, each(settings)))


def each(settings: Settings) -> list[Settings]:
    """These settings once for each model that `up` runs: those of the setting `engines`, or the one."""
    if not settings.engines:
        return [settings]
    named = (entry.partition(":") for entry in settings.engines)
    return [settings.model_copy(update={"engine": engine, "model": model}) for engine, _, model in named]


def choose_without_gpus() -> ModelChoice:
    """What `auto` means on a machine that has none."""
    return choice.choose(SPECS, AUTO, "", "", Machine())


def look_at_machine() -> Machine:
    """The GPUs that this process may use, as far as a choice depends on them."""
    found = gpus.known().gpus
    driver = bool(found) or gpus.is_unlisted()
    return Machine([gpu.memory for gpu in found if gpu.memory], driver, cublas=driver and cublas.is_found())


def uses_gpus(spec: EngineSpec) -> bool:
    """Whether the installed packages let this engine compute on GPUs, so that each GPU gets a worker.

    Imports nothing; `require_gpu` finds out whether it really can.
    """
    return spec.on_gpus and _LIBRARIES.get(spec.computes_with, lambda: True)()


def workers_gpus(chosen: ModelChoice, found: Sequence[Gpu]) -> tuple[list[Gpu], list[str]]:
    """The GPUs that get a worker of this engine, and a sentence for each that is too small for its checkpoint."""
    usable = found if uses_gpus(chosen.spec) else []
    small = [gpu for gpu in usable if _is_too_small(gpu, chosen)]
    remarks = [f"GPU {gpu.index} ({gpu.name}) is not used: it is too small for {chosen.model}" for gpu in small]
    return [gpu for gpu in usable if gpu not in small], remarks


def _is_too_small(gpu: Gpu, chosen: ModelChoice) -> bool:
    """Of a checkpoint whose size is not known beforehand, its worker finds out."""
    return chosen.model == vibevoice.MODEL and gpu.memory is not None and not vibevoice.fits(gpu.memory)


# What tells without an import whether a package can compute on GPUs.
_LIBRARIES: dict[str, Callable[[], bool]] = {
    "ctranslate2": cublas.is_found,
    "onnxruntime": cuda_support.has_gpu_provider,
}


def require_gpu(spec: EngineSpec, gpu: Gpu) -> None:
    """Raise ModelUnavailableError, with the versions and the next step, where an engine cannot compute on that GPU.

    Imports the package that it computes with.
    """
    if spec.computes_with:
        compatibility.require(cuda_support.examine(spec.computes_with), gpu)


def create(engine: str, settings: Settings, placement: Placement = ANYWHERE) -> Transcriber:
    """Load an engine by its name or by `auto`, ready to transcribe.

    Raises ModelUnavailableError when it is unknown, not installed, does not fit this machine or cannot compute on the
    GPU that it is pinned to, and SettingsError when its own settings are wrong.
    """
    chosen = choose(settings.model_copy(update={"engine": engine}))
    settings = settings.model_copy(update={"engine": chosen.spec.name, "model": chosen.model})
    engine_class = _class_of(chosen.spec)
    if placement.gpu:
        require_gpu(chosen.spec, placement.gpu)
    else:
        _warn_of_unused_gpu(chosen.spec)
    return engine_class.load(settings, placement)


def _warn_of_unused_gpu(spec: EngineSpec) -> None:
    """A worker that nobody pinned may compute on the CPU, but not without a word where there is a GPU."""
    found = gpus.known().gpus if spec.on_gpus else ()
    try:
        if found:
            require_gpu(spec, found[0])
    except ModelUnavailableError as error:
        log.warning("computing on the CPU, as %s", error)


def _reader(settings: Settings) -> str:
    """The engine that reads the named checkpoint; empty where none is named or it is not known yet."""
    if not settings.model:
        return ""
    if known.find(settings.model):
        return whisper.SPEC.name
    with suppress(UsageError, ModelUnavailableError):  # not here, or broken: the one who loads it says so
        folder, _ = hub_cache.locate(settings.model, settings.revision)
        return READERS.get(inventory.layout_of(Path(folder)), "")
    return ""


def _refuse_speaker_encoder(model: str) -> None:
    """Raise ModelUnavailableError for the checkpoint that tells speakers apart, as it does not transcribe."""
    if known.find(model) == known.SPEAKER_ENCODER:
        names = ", ".join(known.multilingual())
        raise ModelUnavailableError(
            f"{model} distinguishes speakers and does not transcribe",
            remedy=f"set the model (DROPSCRIBE_MODEL) to one of {names}, or leave it out",
        )


def _class_of(spec: EngineSpec) -> _Engine:
    """The engine's class, imported now. Raises ModelUnavailableError where a package that it needs is missing."""
    module, _, name = spec.target.partition(":")
    try:
        with start_up.without_collection():
            return cast(_Engine, getattr(importlib.import_module(module), name))
    except ImportError as error:
        if not spec.extra:  # needs nothing optional, so the program itself is broken
            raise
        raise ModelUnavailableError(f"{spec.name} cannot be imported: {error}", remedy=spec.how_to_install) from error

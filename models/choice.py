"""Pure: which engine and which checkpoint the settings mean on a machine with these GPUs, and why, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dropscribe.core.engines import AUTO
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.engine_spec import EngineSpec
from dropscribe.models.vibevoice import spec as vibevoice
from dropscribe.models.whisper import memory_budget
from dropscribe.models.whisper import spec as whisper

GIB = 2**30  # bytes; what a vendor calls a GB of a card's memory
TURBO_BYTES = 3 * GIB  # its weights in 16 bits, what five beams take, and the libraries of CUDA
TURBO_WEIGHTS = 1_617_884_929  # of these, its weights
NEEDED = 6  # GB of the smallest card on the market that holds VibeVoice-ASR


@dataclass(frozen=True, slots=True)
class Machine:
    """What a decision rests on: the memory of each GPU in bytes, and whether there is a driver at all.

    With a driver and no `cards`, their memory is not known. `cublas` says that CTranslate2 can compute on them.
    """

    cards: Sequence[int] = ()
    driver: bool = False
    cublas: bool = False

    @property
    def whisper_device(self) -> str:
        """Where Whisper runs: `cuda` or `cpu`."""
        return "cuda" if self.driver and self.cublas else "cpu"

    @property
    def place(self) -> str:
        """The largest GPU, or the CPU where there is none."""
        if self.cards:
            return f"a GPU of {max(self.cards) / GIB:.0f} GB"
        return "a GPU" if self.driver else "the CPU"

    @property
    def whisper_in_int8(self) -> bool:
        """Turbo is computed in int8 on the largest GPU, as it is small."""
        used = self.cards if self.cublas else ()
        return bool(used) and memory_budget.auto_kind(TURBO_WEIGHTS, 1, max(used)) != "float16"

    @property
    def holds_vibevoice(self) -> bool:
        """A GPU is large enough for VibeVoice-ASR."""
        return any(map(vibevoice.fits, self.cards))


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """An engine, its checkpoint (a short name, an id or a folder; empty where it has none) and why, as one sentence."""

    spec: EngineSpec
    model: str
    sentence: str


def choose(specs: dict[str, EngineSpec], engine: str, model: str, reads: str, machine: Machine) -> ModelChoice:
    """What the settings `engine` and `model` mean; `reads` is the engine that reads the named checkpoint, if known.

    `auto` is that engine; without a checkpoint that tells, VibeVoice-ASR where a GPU can hold it, else Whisper: turbo
    on a GPU, base on a CPU. Raises ModelUnavailableError for an engine that there is not.
    """
    if engine == AUTO:
        engine = reads or _best(machine)
    if engine not in specs:
        raise ModelUnavailableError(
            f"{engine} is not part of this version", remedy=f"use one of {', '.join(sorted(specs))}"
        )
    spec = specs[engine]
    chosen = model or _default(spec, machine)
    return ModelChoice(spec, chosen, _sentence(spec, chosen, machine))


def _best(machine: Machine) -> str:
    unknown = machine.driver and not machine.cards
    if unknown or machine.holds_vibevoice:
        return vibevoice.SPEC.name
    return whisper.SPEC.name


def _default(spec: EngineSpec, machine: Machine) -> str:
    roomy = any(card >= TURBO_BYTES for card in machine.cards)
    if spec.name == whisper.SPEC.name and machine.whisper_device == "cuda" and roomy:
        return whisper.ON_GPUS
    return spec.model


def _sentence(spec: EngineSpec, model: str, machine: Machine) -> str:
    """Why this engine and this checkpoint, for people."""
    if spec.notice:
        return spec.notice
    if spec.name == whisper.SPEC.name:
        device = machine.whisper_device
        in_int8 = " in int8" if model == whisper.ON_GPUS and machine.whisper_in_int8 else ""
        told = whisper.caveat(model, device) or f"{whisper.describe(model, device)}{in_int8}: {_reason(machine)}"
        unused = machine.driver and not machine.cublas
        return f"{told}; the GPU is not used, because Whisper needs cuBLAS 12 for that" if unused else told
    name = "VibeVoice-ASR" if model in {"", vibevoice.SPEC.model} else model
    return f"{name} on {machine.place}"


def _reason(machine: Machine) -> str:
    """Why the checkpoint of Whisper is a good one for this machine, and what else it could run."""
    if machine.holds_vibevoice:
        return "one of its best checkpoints; this machine's GPU can also hold VibeVoice-ASR (`--engine vibevoice`)"
    return f"one of its best checkpoints; VibeVoice-ASR needs a GPU of {NEEDED} GB or more"

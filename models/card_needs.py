"""What a model takes of a card at least, as far as that is known before its worker is started. No torch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dropscribe.core.engines import AUTO
from dropscribe.core.errors import DropscribeError
from dropscribe.core.settings import Settings
from dropscribe.models.checkpoints import hub_cache, known
from dropscribe.models.choice import ModelChoice
from dropscribe.models.gpu.room import Need
from dropscribe.models.onnx import layout
from dropscribe.models.onnx import memory_budget as onnx_budget
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice import spec as vibevoice
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.whisper import memory_budget as whisper_budget
from dropscribe.models.whisper import model_bin

SMALLEST = {8: Precision.INT8}  # by the bits of a quantized checkpoint; others may become nf4


def of(settings: Settings, choice: ModelChoice, card: int) -> Need:
    """What the model takes of a card of so many bytes; nothing of one that is not here yet, or cannot be read."""
    with suppress(DropscribeError, OSError):
        return _BY_ENGINE.get(choice.spec.name, _unknown)(settings, choice.model, card)
    return _unknown(settings, choice.model, card)


def _unknown(_settings: Settings, _model: str, _card: int) -> Need:
    return Need()


def _smallest(settings: Settings) -> tuple[float, int]:
    """The length of a chunk in seconds and how many at once: what is set, else the least that there can be."""
    return settings.chunk_seconds or memory_plan.MIN_CHUNK, settings.fixed_slots


def _vibevoice(settings: Settings, model: str, card: int) -> Need:
    """In the smallest format that may be taken."""
    config = {} if model == vibevoice.MODEL else hub_cache.read_config(hub_cache.locate(model, settings.revision)[0])
    geometry = ModelDimensions.from_config(config) if config else PUBLISHED
    stored = SMALLEST.get(hub_cache.quantized_bits(config), Precision.NF4)
    precision = stored if settings.precision == AUTO else Precision(settings.precision)
    savings = memory_plan.savings(geometry)
    plans = [memory_plan.plan(card, geometry, precision, *_smallest(settings), saving=saving) for saving in savings]
    # A card that holds it as a whole is not shared at the price of a saving.
    return Need(next((plan for plan in plans if plan.fits), plans[-1]).total, fills=True)


def _whisper(settings: Settings, model: str, _card: int) -> Need:
    """What a Whisper takes, by the bytes of its weights; `_card` is the card's memory, on which nothing depends."""
    kind = whisper_budget.GPU_TYPES.get(settings.precision, "float16")
    weights = _published(model, settings.revision) or _in_folder(model, settings.revision)
    return Need(weights and whisper_budget.taken(weights, kind, _smallest(settings)[1]))


def _published(model: str, revision: str) -> int:
    """Bytes of the weights of a known checkpoint, which are in 16 bits."""
    found = known.find(model, revision)
    return next((file.size for file in found.files if file.name == known.WEIGHTS), 0) if found else 0


def _in_folder(model: str, revision: str) -> int:
    """Bytes of the weights of another one in 16 bits; 0 where its files do not tell."""
    return 2 * (model_bin.weights(hub_cache.locate(model, revision)[0] / known.WEIGHTS) or 0)


def _onnx(settings: Settings, model: str, _card: int) -> Need:
    folder = Path(model).expanduser()
    geometry, manifest = (ModelDimensions.from_config(hub_cache.read_config(folder)), layout.read(folder))
    return Need(onnx_budget.taken(geometry, manifest, *_smallest(settings), on_gpu=True), fills=True)


_BY_ENGINE: dict[str, Callable[[Settings, str, int], Need]] = {
    "vibevoice": _vibevoice,
    "whisper": _whisper,
    "onnx": _onnx,
}

"""Which model workers `up` starts, on which GPUs and with how much of each: planned before any of them takes memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from operator import attrgetter, itemgetter

from dropscribe.core.gpus import Gpu
from dropscribe.core.settings import Settings
from dropscribe.models import card_needs, registry
from dropscribe.models.choice import ModelChoice
from dropscribe.models.gpu.room import Need, Room, share_out


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """A worker of the model of that number in the order of `engines`; its GPU if it has one, and its share of that.

    Without a share, the setting `gpu_share` holds.
    """

    number: int
    choice: ModelChoice
    gpu: Gpu | None = None
    share: float | None = None

    @property
    def name(self) -> str:
        """The model, as the setting `engines` names it."""
        model = self.choice.model
        return self.choice.spec.name if model in {"", self.choice.spec.model} else f"{self.choice.spec.name}:{model}"

    def __str__(self) -> str:
        """For people."""
        return f"{self.name} (up to {self.share:.1%} of it)" if self.share else self.name


Arranged = tuple[list[WorkerPlace], list[str]]


def arrange(settings: Settings, choices: Sequence[ModelChoice], found: Sequence[Gpu]) -> Arranged:
    """Of each model one worker for each GPU that it can use and that has room for it, or without GPUs one.

    Returns a sentence, too, on each GPU that is too small, that several models share, or that has no room for one.
    """
    usable = [registry.workers_gpus(choice, found) for choice in choices]
    wanted = [*chain.from_iterable(map(_wanted, count(), choices, map(itemgetter(0), usable)))]
    cards = [_on_card(settings, gpu, wanted) for gpu in (None, *found)]
    places = sorted(chain.from_iterable(map(itemgetter(0), cards)), key=attrgetter("number"))
    return places, [*chain.from_iterable(map(itemgetter(1), (*usable, *cards)))]


def _wanted(number: int, choice: ModelChoice, gpus: Sequence[Gpu]) -> list[WorkerPlace]:
    """A place for a worker of this choice on each GPU, or one without."""
    return [WorkerPlace(number, choice, gpu) for gpu in gpus or (None,)]


def _on_card(settings: Settings, gpu: Gpu | None, wanted: Sequence[WorkerPlace]) -> Arranged:
    """Nothing is planned for one model alone, nor where the driver does not tell the memory: its worker does that."""
    own = [place for place in wanted if place.gpu == gpu]
    is_told = gpu is not None and gpu.memory is not None and gpu.free is not None
    return _shared(settings, gpu, own) if gpu and is_told and len(own) > 1 else (own, [])


def _shared(settings: Settings, gpu: Gpu, wanted: Sequence[WorkerPlace]) -> Arranged:
    """The places that fit on a GPU together, each with its share; and a sentence on it, and on each that does not."""
    memory, free = gpu.memory or 0, gpu.free or 0
    needs = [card_needs.of(settings, place.choice, memory) for place in wanted]
    rooms = share_out(needs, memory, free, settings.gpu_share)
    places, refusals = list[WorkerPlace](), list[str]()
    for place, need, room in zip(wanted, needs, rooms, strict=True):
        if room.given:
            places.append(replace(place, share=room.share))
        else:
            refusals.append(_refusal(settings, gpu, place, need, room))
    return places, [f"GPU {gpu.index} ({gpu.name}) has room for {' and '.join(map(str, places))}", *refusals]


def _refusal(settings: Settings, gpu: Gpu, place: WorkerPlace, need: Need, room: Room) -> str:
    """That a model has no room on a GPU, and what to do."""
    least, left = need.least / 1e9, room.left / 1e9
    return (
        f"{place.name} is not started on GPU {gpu.index} ({gpu.name}): it takes at least {least:.1f} GB of it, and "
        f"{left:.1f} GB are left (gpu_share = {settings.gpu_share:g}); recordings that ask for it wait. Leave another "
        "one out of `engines`, or take a smaller checkpoint or precision"
    )

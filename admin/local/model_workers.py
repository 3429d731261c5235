"""The model workers of `up`: of which models, on which GPUs, and what becomes of the work of one that cannot live."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dropscribe.admin.local.supervisor import Child, GaveUpError, Supervisor
from dropscribe.core import gpus
from dropscribe.core.engines import AUTO
from dropscribe.core.gpus import Gpu
from dropscribe.core.settings import Settings, variable
from dropscribe.models import registry, worker_places
from dropscribe.models.choice import ModelChoice
from dropscribe.models.worker_places import WorkerPlace

ON_CPU = {gpus.VARIABLE: ""}  # the environment of a worker that is to leave all GPUs alone


@dataclass
class ModelWorkers:
    """All model workers of one `up`; `say` tells people what is decided about them."""

    settings: Settings
    choices: Sequence[ModelChoice]
    say: Callable[[str], None]
    children: list[Child] = field(default_factory=list)
    has_fallen_back: bool = False
    given_up: list[GaveUpError] = field(default_factory=list)  # of workers without which the others go on

    @property
    def living(self) -> list[Child]:
        """Those that run, or are to be started again."""
        return [child for child in self.children if not child.ended]

    def start(self, supervisor: Supervisor) -> list[Child]:
        """Of each model one worker for each GPU that it can use and that has room for it, or else one."""
        listing = gpus.known()
        places, remarks = worker_places.arrange(self.settings, self.choices, listing.gpus)
        for remark in (*listing.remarks, *remarks):
            self.say(remark)
        for place in places:
            self._add(supervisor, place, _name(place.number, place.gpu))
        return self.children

    def _add(self, supervisor: Supervisor, place: WorkerPlace, name: str) -> None:
        """Start a worker in its place: pinned to its GPU, with its share of the memory."""
        pinned = [place.gpu.uuid] if place.gpu else []
        share = {variable("gpu_share"): str(place.share)} if place.share else {}
        environment = share | (ON_CPU if self.has_fallen_back else {})
        chosen = (name, place.choice.spec.name, place.choice.model, *pinned)  # once for all workers of this model
        self.children.append(supervisor.start(name, "model", *chosen, may_end=True, environment=environment))

    def go_on_without(self, supervisor: Supervisor, error: GaveUpError) -> None:
        """Go on with the others, or where `auto` chose the model, with the next one on the CPU.

        Raises the error where it is about no model worker, nothing else is left, or the fleet is more than this
        machine: there nothing degrades by itself.
        """
        if error.child not in self.children or error in self.given_up or self.settings.database_url:
            raise error
        if self.living:
            self.say(f"{error}. The other model workers go on without it")
            self.given_up.append(error)
            return
        fallback = None if self.has_fallen_back else self._next()
        if fallback is None:
            raise error
        self.has_fallen_back = True
        self.say(f"{error}. Instead: {fallback.sentence}")
        self._add(supervisor, WorkerPlace(0, fallback), f"{socket.gethostname()}-model-cpu")

    def _next(self) -> ModelChoice | None:
        """What `auto` would choose without GPUs; None where somebody named the model, or it is not installed."""
        if self.settings.engines or self.settings.model or self.settings.engine != AUTO:
            return None
        chosen = registry.choose_without_gpus()
        return chosen if chosen.spec.is_installed else None


def _name(number: int, gpu: Gpu | None) -> str:
    """What a worker of the model of that number is called."""
    role = f"model{number + 1}" if number else "model"
    return "-".join([socket.gethostname(), role, *([str(gpu.index)] if gpu else [])])

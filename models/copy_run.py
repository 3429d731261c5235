"""Does a copy run? It is loaded as a worker loads it and transcribes two seconds of silence, where this machine can."""

from __future__ import annotations

from pathlib import Path

from dropscribe.core.errors import ModelDoesNotFitError
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.checkpoints.copy_check import CopyRun, Try
from dropscribe.models.onnx import layout
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.settings import VibeVoiceSettings


def on_this_machine(settings: Settings) -> Try:
    """A function that runs the copy in a folder, one request at a time.

    It raises ModelError where a copy does not run that this machine could hold.
    """

    def run(folder: Path) -> CopyRun:
        """Load a copy as a worker does, with short chunks; where even that takes too much memory, it is not checked."""
        wanted = {"model": str(folder), "revision": "", "precision": "auto", "model_slots": 1}
        own = settings.model_copy(update=wanted | {"chunk_seconds": memory_plan.MIN_CHUNK})
        # A kernel that is named for another machine says nothing against the copy.
        own = own.having(own.of(VibeVoiceSettings).model_copy(update={"attention": "auto"}))
        try:
            model = registry.create("onnx" if layout.is_export(folder) else "vibevoice", own)
        except ModelDoesNotFitError as error:
            return CopyRun(not_run=str(error))
        model.close()
        return CopyRun(checked=True, not_run="")

    return run

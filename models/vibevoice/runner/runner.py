"""The thread that steps the language model, and what it does when a step fails."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from torch import Tensor

from dropscribe.core.errors import ModelDoesNotFitError, ModelError, ModelFatalError, ModelUnavailableError
from dropscribe.models import engine_errors
from dropscribe.models.vibevoice.generation import Decoding, Generation, Stop, TokenListener
from dropscribe.models.vibevoice.runner.request import RunnerRequest
from dropscribe.models.vibevoice.runner.scheduler import RunnerScheduler, Sizes, StepBatch
from dropscribe.models.vibevoice.runner.step import ModelStep

log = logging.getLogger(__name__)

END_SECONDS = 60.0  # the longest that a step may take before closing goes on without it


def one_step(scheduler: RunnerScheduler, step: ModelStep) -> StepBatch:
    """Let requests leave and join, compute one step, and hand over its tokens; what was computed."""
    scheduler.drop_unwanted()
    for request in scheduler.admit():
        step.admit(request)
    batch = scheduler.schedule()
    if batch.decoding or batch.pieces:
        scheduler.advance(batch, step.run(batch))
    return batch


class Runner:
    """An `Engine` for as many requests at once as there are slots; more than that wait for their turn."""

    def __init__(self, model: Any, decoding: Decoding, sizes: Sizes, attention: str) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration, `attention` one of our functions by name.

        Raises ModelDoesNotFitError if the cache does not fit.
        """
        self._sizes = sizes
        self._scheduler = RunnerScheduler(sizes, decoding.eos)
        try:
            self._step = ModelStep(model.model.language_model, model.lm_head, decoding, sizes, attention)
        except (RuntimeError, MemoryError) as error:  # PyTorch's
            if not engine_errors.is_out_of_memory(error):
                raise ModelUnavailableError(str(engine_errors.translate(error))) from error
            raise ModelDoesNotFitError(str(engine_errors.translate(error))) from error
        self._hidden = int(model.config.text_config.hidden_size)
        self._arrived: list[RunnerRequest] = []
        self._changed = threading.Condition()
        self._ended: ModelError | None = None  # why nothing is served any more
        self.decode_steps, self.host_seconds = 0, 0.0  # of steps in which all requests decode; without waiting
        self._thread = threading.Thread(target=self._serve, name="language-model", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """Requests that run at once; fewer than planned after memory ran out."""
        return self._sizes.slots

    def generate(
        self, prompt: Tensor, max_new_tokens: int, on_tokens: TokenListener, cancel: threading.Event
    ) -> Generation:
        """See `Engine`. Raises ModelError too if the request is longer than a slot or has the wrong shape."""
        self._check(prompt, max_new_tokens)
        request = RunnerRequest(self._step.place(prompt), max_new_tokens, cancel)
        with self._changed:
            if self._ended:
                raise self._ended
            self._arrived.append(request)
            self._changed.notify()
        return request.follow(on_tokens)

    def close(self) -> None:
        """See `Engine`."""
        self._end(ModelError("the model was stopped", remedy="the request is served by another worker"))
        self._thread.join(END_SECONDS)

    def _check(self, prompt: Tensor, max_new_tokens: int) -> None:
        """Raise ModelError for a prompt that does not fit this model."""
        if prompt.dim() != 2 or not len(prompt) or prompt.shape[1] != self._hidden or max_new_tokens < 1:
            raise ModelError(
                f"a prompt of shape {tuple(prompt.shape)} for {max_new_tokens} tokens does not fit this model, "
                f"which are (tokens, {self._hidden})",
                remedy="please report this as a bug",
            )
        if len(prompt) + max_new_tokens > self._sizes.tokens_per_slot:
            raise ModelError(
                f"{len(prompt)} tokens and an answer of {max_new_tokens} exceed the {self._sizes.tokens_per_slot} of a "
                "slot",
                remedy="shorten DROPSCRIBE_CHUNK_SECONDS or the context",
            )

    def _serve(self) -> None:
        """Step by step until there is nothing more to do, and the end."""
        try:
            while self._has_work():
                began, waited = time.perf_counter(), self._step.waited
                try:
                    batch = one_step(self._scheduler, self._step)
                except Exception as error:  # noqa: BLE001  # whatever it is, callers wait for an answer
                    self._recover(error)
                    continue
                if not batch.pieces:
                    self.decode_steps += 1
                    self.host_seconds += time.perf_counter() - began - (self._step.waited - waited)
        finally:
            self._fail_all()

    def _has_work(self) -> bool:
        """Take in what has arrived; waits while there is nothing to do. False at the end."""
        with self._changed:
            while not (self._ended or self._arrived or self._scheduler.has_work):
                self._changed.wait()
            self._scheduler.waiting.extend(self._arrived)
            self._arrived.clear()
            return not self._ended

    def _recover(self, error: Exception) -> None:
        """After a failed step: go on with fewer slots, or fail who runs, or end for good."""
        fault = engine_errors.translate(error)
        smaller = self._sizes.smaller() if engine_errors.is_out_of_memory(error) else None
        log.warning("a step of the language model failed: %s", fault)
        if isinstance(fault, ModelFatalError):
            self._end(fault)
        elif smaller:
            error.with_traceback(None)  # its frames hold memory of the step
            self._restart(smaller)
        else:
            for request in tuple(self._scheduler.running):
                self._scheduler.leave(request, Stop.CANCELLED, fault)

    def _restart(self, sizes: Sizes) -> None:
        """Start again with fewer slots, and go on with what was under way."""
        log.warning("starting the language model again with %d slots", sizes.slots)
        try:
            self._step.resize(sizes)
            for request in self._scheduler.running:
                request.restart(self._step.with_tokens(request))
        except (RuntimeError, MemoryError) as error:
            self._end(ModelFatalError(f"the language model cannot be started again: {engine_errors.translate(error)}"))
            return
        self._sizes = sizes
        self._scheduler.resize(sizes)

    def _end(self, why: ModelError) -> None:
        """Take nothing more, for this reason."""
        with self._changed:
            self._ended = self._ended or why
            self._changed.notify()

    def _fail_all(self) -> None:
        """End all requests."""
        self._end(ModelFatalError("the language model's thread has ended"))  # unless it is known why
        with self._changed:
            for request in (*self._scheduler.running, *self._scheduler.waiting, *self._arrived):
                request.end(Stop.CANCELLED, self._ended)

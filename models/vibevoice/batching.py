"""Many requests at once: transformers' continuous batching behind the same interface as `Reference`.

A request joins when a slot is free and leaves when it ends, while others run. A `_Session` is one life of
transformers' manager, which ends with the first error in its thread; `Batched` then starts another one and lets the
requests go on where they stood: with fewer slots when memory ran out.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from transformers import ContinuousBatchingConfig
from transformers.generation.continuous_batching.continuous_api import BackgroundThreadStatus, OutputRouter
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, FIFOScheduler

from dropscribe.core.errors import ModelError, ModelFatalError, ModelUnavailableError
from dropscribe.models import engine_errors
from dropscribe.models.vibevoice.engine import POLL_SECONDS, language_model
from dropscribe.models.vibevoice.generation import Decoding, Generation, Listener, TokenSink
from dropscribe.models.vibevoice.memory_plan import PAGE
from dropscribe.models.vibevoice.penalty import add_repetition_penalty
from dropscribe.models.vibevoice.soft_tokens import SoftTokens

log = logging.getLogger(__name__)

MIN_STEP = 256  # tokens of a step; with fewer, a prompt of half an hour takes over 50 steps
END_SECONDS = 60.0  # the longest that a decode step may take before the manager counts as stuck while it stops


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the plan gives the language model.

    `slots` requests at once, each with at most `tokens_per_slot` in the cache (prompt and answer); `step_tokens`
    are the most that one forward pass takes: long prompts are read in pieces of that size.
    """

    slots: int
    tokens_per_slot: int
    step_tokens: int = 2048
    flash: bool = False  # attention by flash-attn
    graphs: bool | None = None  # CUDA graphs; None: where attention needs no mask

    def smaller(self) -> Sizes | None:
        """What to try after memory ran out; None when nothing is left to give up."""
        if self.slots == 1 and self.step_tokens <= MIN_STEP:
            return None
        step = max(MIN_STEP, self.step_tokens // 2)
        return replace(self, slots=max(1, self.slots // 2), step_tokens=step)

    def config(self, scheduler: str, *, lockstep: bool) -> ContinuousBatchingConfig:
        """The same in transformers' terms: a cache that holds every slot's longest request, so that none waits.

        `lockstep`: prepare a step only when the tokens of the one before are known.
        """
        pages = math.ceil(self.tokens_per_slot / PAGE)
        return ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=pages * self.slots,
            max_batch_tokens=max(self.step_tokens, self.slots),
            max_requests_per_batch=self.slots,
            max_blocks_per_request=pages if self.flash else None,
            # Ids of soft tokens are used again for other recordings: a cache shared by equal ids would mix them up.
            allow_block_sharing=False,
            auto_switch_to_flash=False,  # the loader has chosen, and says so in the log
            scheduler_type=scheduler,
            max_memory_percent=1.0,  # the plan has left room for all else
            safety_margin=0.0,
            use_cuda_graph=self.graphs,
            use_async_batching=False if lockstep else None,
        )


class SessionLostError(Exception):
    """The manager's thread ended; `cause` is what ended it."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Ticket:
    """One request in flight, shared by its caller and the manager's thread."""

    def __init__(self, ear: TokenSink) -> None:
        self.ear = ear
        self.drop = threading.Event()
        self.done = threading.Event()
        self.output: GenerationOutput | None = None
        self.state: RequestState | None = None

    @property
    def unwanted(self) -> bool:
        return self.ear.cancel.is_set() or self.drop.is_set()

    def tokens(self) -> list[int]:
        """All tokens so far. The manager only ever appends to the list that is copied here."""
        if self.output:
            return self.output.generated_tokens
        return self.state.to_generation_output().generated_tokens if self.state else []

    def finish(self, output: GenerationOutput) -> None:
        self.output = output
        self.done.set()


class _Router(OutputRouter):
    """Hands every finished request to its own ticket instead of a queue for all."""

    def __init__(self, tickets: dict[str, _Ticket]) -> None:
        super().__init__()
        self._tickets = tickets

    def deliver(self, output: GenerationOutput) -> None:
        self._tickets[output.request_id].finish(output)

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        for output in outputs:
            self.deliver(output)


class _Scheduler(FIFOScheduler):
    """First come, first served; before each step it drops the requests that nobody wants any more."""

    def __init__(self, tickets: dict[str, _Ticket], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._tickets = tickets

    def clear_cancelled_requests(self) -> list[RequestState]:
        for identity, ticket in list(self._tickets.items()):
            if ticket.unwanted:
                self.set_request_cancellation(identity)
        dropped = super().clear_cancelled_requests()
        if dropped and torch.cuda.is_available():
            torch.cuda.synchronize()  # a step that still reads their soft tokens may be under way
        for state in dropped:
            self._tickets[state.request_id].finish(state.to_generation_output())
        for identity, state in self.active_requests.items():
            self._tickets[identity].state = state
        return list(dropped)


class _Session:
    """One life of transformers' manager and its thread."""

    def __init__(self, model: Any, decoding: Decoding, sizes: Sizes) -> None:
        self.sizes = sizes
        self._eos = decoding.eos
        self._tickets: dict[str, _Ticket] = {}
        self._numbers = itertools.count()
        self._scheduler = f"dropscribe-{id(self)}"
        SCHEDULER_MAPPING[self._scheduler] = cast(Any, functools.partial(_Scheduler, self._tickets))
        self._manager = self._set_up(model, decoding)
        self._manager.start()

    def run(self, prompt: Sequence[int], budget: int, ear: TokenSink) -> Generation:
        """Serve one request. Raises SessionLostError when the manager ended, ModelError when it refused."""
        name = f"request-{next(self._numbers)}"
        ticket = self._tickets[name] = _Ticket(ear)
        try:
            self._submit(name, prompt, budget, ticket)
            self._follow(ticket)
        finally:
            self._leave(name, ticket)
        return self._result(ticket)

    def close(self) -> None:
        """End the thread; requests that still run get SessionLostError."""
        self._manager.stop(block=True, timeout=END_SECONDS, hard_stop=True)
        SCHEDULER_MAPPING.pop(self._scheduler, None)

    def _set_up(self, model: Any, decoding: Decoding) -> Any:
        penalized = decoding.repetition_penalty != 1.0
        manager = model.init_continuous_batching(
            generation_config=decoding.config(),
            continuous_batching_config=self.sizes.config(self._scheduler, lockstep=penalized),
        )
        manager.output_router = _Router(self._tickets)
        if penalized:
            vocabulary = model.config.vocab_size
            add_repetition_penalty(manager, decoding.repetition_penalty, (self.sizes.slots, vocabulary))
        manager.warmup()  # makes the cache, and captures CUDA graphs where they are used
        if manager.batch_processor.cache.use_prefix_sharing:
            raise ModelUnavailableError(
                "prefix sharing is on and would mix up recordings", remedy="please report this as a bug"
            )
        return manager

    def _submit(self, name: str, prompt: Sequence[int], budget: int, ticket: _Ticket) -> None:
        accepted = self._manager.add_request(
            [*prompt, *ticket.ear.earlier],
            request_id=name,
            max_new_tokens=budget - len(ticket.ear.earlier),
            record_timestamps=True,
            eos_token_id=list(self._eos),
        )
        if accepted is None:
            raise self._lost(ticket)

    def _follow(self, ticket: _Ticket) -> None:
        while not ticket.done.wait(POLL_SECONDS):
            if not ticket.ear.take(ticket.tokens()):
                ticket.drop.set()
            if self._has_ended():
                raise self._lost(ticket)
        if ticket.output and ticket.output.error and self._is_ending():
            raise self._lost(ticket)

    def _leave(self, name: str, ticket: _Ticket) -> None:
        # The caller frees the soft tokens next, so the manager must have let go of them.
        ticket.drop.set()
        while not ticket.done.wait(POLL_SECONDS) and not self._has_ended():
            continue
        del self._tickets[name]

    def _result(self, ticket: _Ticket) -> Generation:
        output = ticket.output
        if output is None:
            raise self._lost(ticket)
        if output.error:
            raise ModelError(f"the model refused the request: {output.error}", remedy="see the worker's log")
        ear = ticket.ear
        ear.take(output.generated_tokens)
        times = output.timestamps or []
        prefill, decode = (times[0] - output.created_time, times[-1] - times[0]) if times else (0.0, 0.0)
        return Generation(tuple(ear.tokens), ear.reason(self._eos), prefill, decode)

    def _is_ending(self) -> bool:
        return bool(self._manager.background_thread_status.local_status != BackgroundThreadStatus.DONT_STOP)

    def _has_ended(self) -> bool:
        return bool(self._manager.background_thread_status.local_status == BackgroundThreadStatus.STOPPED)

    def _lost(self, ticket: _Ticket) -> SessionLostError:
        ticket.ear.take(ticket.tokens())
        ticket.ear.turn_over()
        deadline = time.monotonic() + END_SECONDS
        while not self._has_ended() and time.monotonic() < deadline:  # only then is the error known
            time.sleep(POLL_SECONDS / 10)
        cause = self._manager.background_thread_status.fatal_error or RuntimeError("the model was stopped")
        return SessionLostError(cause)


def _tidy_log() -> None:
    """Transformers' manager writes to a handler of its own; its errors belong into our log, its chatter nowhere."""
    logger = logging.getLogger("ContinuousBatchingLogger")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.WARNING)


class Batched:
    """Serves as many requests at once as there are slots; more than that wait for their turn."""

    def __init__(self, model: Any, soft: SoftTokens, decoding: Decoding, sizes: Sizes) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration whose embedding is `soft`.

        Raises ModelUnavailableError when the cache does not fit.
        """
        if model.get_input_embeddings() is not soft:
            raise ValueError("the model's embedding is not the one with the soft tokens")
        _tidy_log()
        self._model = language_model(model)
        self._decoding = decoding
        self._sizes = sizes
        self._running = 0
        self._changed = threading.Condition()
        self._ended: ModelError | None = None  # why nothing is served any more
        self._session = self._start()

    @property
    def slots(self) -> int:
        """Requests that run at once; fewer than planned after memory ran out."""
        return self._sizes.slots

    def generate(self, prompt: Sequence[int], budget: int, listen: Listener, cancel: threading.Event) -> Generation:
        """See `Engine`. Raises ModelError too when the request is longer than a slot."""
        if len(prompt) + budget > self._sizes.tokens_per_slot:
            raise ModelError(
                f"{len(prompt)} tokens and an answer of {budget} exceed the {self._sizes.tokens_per_slot} of a slot",
                remedy="shorten DROPSCRIBE_CHUNK_SECONDS or the context",
            )
        ear = TokenSink(listen, cancel)
        while (session := self._enter(cancel)) is not None:
            try:
                return session.run(prompt, budget, ear)
            except SessionLostError as lost:
                self._recover(session, lost.cause)
                if ear.is_over(budget, self._decoding.eos):
                    break
            finally:
                self._leave()
        return Generation(tuple(ear.tokens), ear.reason(self._decoding.eos))

    def close(self) -> None:
        """See `Engine`."""
        with self._changed:
            self._ended = self._ended or ModelError(
                "the model was stopped", remedy="the request is served by another worker"
            )
        self._session.close()

    def _start(self) -> _Session:
        try:
            return _Session(self._model, self._decoding, self._sizes)
        except (RuntimeError, MemoryError) as error:  # PyTorch's; transformers' when the cache cannot fit
            raise ModelUnavailableError(str(engine_errors.translate(error))) from error

    def _enter(self, cancel: threading.Event) -> _Session | None:
        """Wait for a slot; None when the request was cancelled meanwhile."""
        with self._changed:
            while not self._ended and self._running >= self._sizes.slots:
                if cancel.is_set():
                    return None
                self._changed.wait(POLL_SECONDS)
            if self._ended:
                raise self._ended
            self._running += 1
            return self._session

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _recover(self, lost: _Session, cause: BaseException) -> None:
        """Start anew after an error; returns when the request may go on, else raises what the error means."""
        fault = engine_errors.translate(cause)
        smaller = lost.sizes.smaller() if engine_errors.is_out_of_memory(cause) else None
        with self._changed:
            if self._ended:
                raise self._ended from cause
            if isinstance(fault, ModelFatalError):
                self._ended = fault
                raise fault from cause
            if self._session is lost:
                self._restart(smaller or self._sizes, cause)
        if smaller is None:
            raise fault from cause

    def _restart(self, sizes: Sizes, cause: BaseException) -> None:
        log.warning("%s; starting the language model anew with %d slots", engine_errors.translate(cause), sizes.slots)
        cause.with_traceback(None)  # its frames hold the old cache
        self._session.close()
        self._sizes = sizes
        try:
            self._session = self._start()
        except ModelUnavailableError as error:
            self._ended = ModelFatalError(f"the language model cannot be started anew: {error}")
            raise self._ended from error

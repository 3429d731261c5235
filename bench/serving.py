"""Clocks and counters around the product's engine, and around `generate()` one at a time and on padded batches."""

from __future__ import annotations

import gc
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import StoppingCriteria, StoppingCriteriaList

from bench.roofline import Card, Memory, Rates, Trace, Work, decode_rate, kernel_table, trace_of
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelError
from dropscribe.models.base import Audio
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.engine import POLL_SECONDS, Engine, Reference, language_model
from dropscribe.models.vibevoice.generation import Decoding
from dropscribe.models.vibevoice.memory_plan import MemoryPlan, Precision
from dropscribe.models.vibevoice.runner.attention_choice import AttentionChoice
from dropscribe.models.vibevoice.runner.runner import Runner
from dropscribe.models.vibevoice.transcriber import runner_sizes

SHORTEST = 0.85  # of the longest chunk: cuts lie in pauses, so that lengths differ and padding costs something
ENCODED = 4  # slots that are planned for where the encoders are measured
WARM_UP_SECONDS = 10.0  # of audio, encoded before the clock runs
PROFILED_SECONDS = 2.0  # of decoding
CPU_MEMORY, CPU_STEP_TOKENS = 8 * memory_plan.GIB, 256  # for trying the program without a GPU


class OutOfTimeError(Exception):
    """`--seconds` are used up."""


class Clock:
    """How long all may take; `over` is set `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self.over = threading.Event()
        timer = threading.Timer(seconds, self.over.set)
        timer.daemon = True
        timer.start()

    def check(self) -> None:
        """Raises OutOfTimeError when the time is up."""
        if self.over.is_set():
            raise OutOfTimeError


@dataclass(frozen=True, slots=True)
class Meter:
    """The allocator's counters of one device, in bytes; all zero on a CPU."""

    device: torch.device

    @property
    def on_gpu(self) -> bool:
        """Whether there is anything to count."""
        return self.device.type == "cuda"

    def sync(self) -> None:
        """Wait until the device has done what it was told."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def held(self) -> int:
        """In use now."""
        return torch.cuda.memory_allocated(self.device) if self.on_gpu else 0

    def peak(self) -> int:
        """Most in use since `reset`."""
        return torch.cuda.max_memory_allocated(self.device) if self.on_gpu else 0

    def reserved(self) -> int:
        """Most taken from the driver since `reset`."""
        return torch.cuda.max_memory_reserved(self.device) if self.on_gpu else 0

    def reset(self) -> None:
        """Give back what is not in use and count again."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def available(self) -> int:
        """What this process may plan with, asked before anything is loaded."""
        if not self.on_gpu:
            return CPU_MEMORY
        free, total = torch.cuda.mem_get_info(self.device)
        return min(total, free + CUDA_CONTEXT)


@dataclass(frozen=True)
class Subject:
    """A model under measurement; `steps` of each answer, all of it when None."""

    model: Any
    geometry: ModelDimensions
    precision: Precision
    attention: AttentionChoice
    memory: int
    steps: int | None
    clock: Clock
    meter: Meter

    def decoding(self) -> Decoding:
        """An id past all words ends an answer: none ever does."""
        return Decoding(eos=(self.geometry.vocabulary,))

    def prompt_tokens(self, work: Work) -> int:
        """What is read before the steps that are measured."""
        return work.prompt if self.steps is None else work.middle

    def budget(self, work: Work) -> int:
        """Tokens of each answer that are measured."""
        return work.answer if self.steps is None else min(self.steps, work.answer)

    def plan(self, work: Work, slots: int) -> MemoryPlan:
        """As many of the slots as fit, one at least."""
        fitting = memory_plan.most_slots(
            self.memory, self.geometry, self.precision, work.seconds, paged=self.attention.is_paged
        )
        slots = max(1, min(slots, fitting))
        plan = memory_plan.plan(
            self.memory, self.geometry, self.precision, work.seconds, slots, paged=self.attention.is_paged
        )
        if self.meter.on_gpu:
            return plan
        # On a CPU, a cache that nobody uses would take memory for nothing.
        step = min(plan.prefill_tokens, CPU_STEP_TOKENS)
        tokens = self.prompt_tokens(work) + self.budget(work) + self._staggered(work, slots, step)
        return replace(plan, slot_tokens=tokens, prefill_tokens=step)

    def batch_budget(self, work: Work, plan: MemoryPlan) -> int:
        """The same for requests of which the first write while the last are read: then all write for `budget` steps."""
        room = plan.slot_tokens - self.prompt_tokens(work)
        return min(room, self.budget(work) + self._staggered(work, plan.slots, plan.prefill_tokens))

    def _staggered(self, work: Work, slots: int, step: int) -> int:
        return 0 if self.steps is None else math.ceil((slots - 1) * self.prompt_tokens(work) / (step - slots))

    @contextmanager
    def runner(self, plan: MemoryPlan) -> Iterator[Runner]:
        """The product's engine, set up as its transcriber does."""
        engine = Runner(self.model, self.decoding(), runner_sizes(plan), self.attention.name)
        try:
            yield engine
        finally:
            engine.close()


def encoder_speed(subject: Subject, work: Work) -> tuple[float, list[Memory]]:
    """Seconds of audio that the encoders and the projector read in a second, and what memory they take for it.

    As many recordings are encoded at once as the plan has rows for them.
    """
    subject.clock.check()
    plan, meter = subject.plan(work, ENCODED), subject.meter
    meter.reset()
    held = meter.held()
    encoder = Encoder(subject.model, plan.piece_seconds, plan.encoder_rows)
    encoder.encode(_noise(WARM_UP_SECONDS), subject.clock.over)
    audio, began = _noise(work.seconds), time.monotonic()
    with ThreadPoolExecutor(plan.encoder_rows) as pool:
        list(pool.map(encoder.encode, [audio] * plan.encoder_rows, [subject.clock.over] * plan.encoder_rows))
    meter.sync()
    rate = plan.encoder_rows * work.seconds / (time.monotonic() - began)
    return rate, [Memory("encoder", plan.parts["encoder"], meter.peak() - held)]


def _noise(seconds: float) -> Audio:
    return np.random.default_rng(0).normal(0, 0.05, round(seconds * SAMPLE_RATE)).astype(np.float32)


def prompts(subject: Subject, work: Work, count: int) -> list[Tensor]:
    """`count` prompts (tokens, hidden) of random embeddings. The first is the longest."""
    chance = random.Random(0)
    weight = subject.model.get_input_embeddings().weight
    lengths = [
        round((chance.uniform(SHORTEST, 1.0) if number else 1.0) * subject.prompt_tokens(work))
        for number in range(count)
    ]
    return [torch.randn(length, weight.shape[1], dtype=weight.dtype, device=weight.device) for length in lengths]


def serve(subject: Subject, engine: Engine, asked: Sequence[Tensor], budget: int) -> Rates:
    """Send all requests at once, each from a thread of its own, as the worker does."""
    began = time.monotonic()

    def one(prompt: Tensor) -> Trace:
        heard: Trace = []

        def listen(tokens: list[int]) -> bool:
            heard.append((time.monotonic(), len(tokens) + (heard[-1][1] if heard else 0)))
            return True

        return trace_of(began, engine.generate(prompt, budget, listen, subject.clock.over), heard)

    with ThreadPoolExecutor(len(asked)) as pool:
        traces = list(pool.map(one, asked))
    return rates_of(began, traces, sum(map(len, asked)))


def rates_of(began: float, traces: Sequence[Trace], prompt_tokens: int) -> Rates:
    """Raises OutOfTimeError when some requests were stopped before their second token."""
    if min(trace[-1][1] for trace in traces) < 2:
        raise OutOfTimeError
    read = max(trace[0][0] for trace in traces)
    return Rates(len(traces), prompt_tokens / (read - began), decode_rate(traces))


def batched_rates(subject: Subject, work: Work, chunks: int) -> tuple[Rates, list[Memory]]:
    """The product's engine, and its memory against the plan."""
    subject.clock.check()
    plan, meter = subject.plan(work, chunks), subject.meter
    meter.reset()
    base = meter.held()
    with subject.runner(plan) as engine:
        cache = meter.held()
        asked = prompts(subject, work, plan.slots)
        prompted = meter.held()
        rates = serve(subject, engine, asked, subject.batch_budget(work, plan))
        if engine.slots < plan.slots:
            raise ModelError(f"memory ran out: {engine.slots} of {plan.slots} slots were left; the plan is wrong")
        host = engine.host_seconds / engine.decode_steps if engine.decode_steps else None
    return replace(rates, host=host), parts_of(plan, base, cache, prompted, meter.peak(), meter.reserved())


def parts_of(plan: MemoryPlan, base: int, cache: int, prompted: int, peak: int, reserved: int) -> list[Memory]:
    """The plan beside what was in use before the engine, with its cache and graphs, with the prompts, at most."""
    parts = plan.parts
    transient = parts["attention"] + parts["prefill"]
    kept = parts["cache"] + parts["graphs"]
    whole = parts["weights"] + parts["prompts"] + kept + transient
    return [
        Memory("cache and graphs", kept, cache - base),
        Memory("prompts", parts["prompts"], prompted - cache),
        Memory("attention and prefill", transient, peak - prompted),
        Memory("all but encoder and reserve", whole, peak),
        Memory("the same, taken from the driver", whole, reserved),
    ]


def single_rates(subject: Subject, work: Work) -> Rates:
    """generate(), one request at a time: a short one to warm up, then the one that counts."""
    subject.clock.check()
    [prompt] = prompts(subject, work, 1)
    engine = Reference(subject.model, subject.decoding())
    serve(subject, engine, [prompt], 2)
    return serve(subject, engine, [prompt], subject.budget(work))


def padded_rates(subject: Subject, work: Work, chunks: int) -> Rates:
    """generate() on a batch padded on the left; half as many as long as memory runs out."""
    subject.clock.check()
    subject.meter.reset()
    try:
        return _padded(subject, work, chunks)
    except torch.OutOfMemoryError:
        if chunks == 1:
            raise
    return padded_rates(subject, work, chunks // 2)


class _Moments(StoppingCriteria):
    """When each token of a batch came; ends it when the time is up."""

    def __init__(self, clock: Clock) -> None:
        self.trace: Trace = []
        self._clock = clock

    def __call__(self, input_ids: Tensor, *_: Any, **__: Any) -> Tensor:
        input_ids[:, -1].tolist()  # waits for the device
        self.trace.append((time.monotonic(), len(self.trace) + 1))
        return torch.full((len(input_ids),), self._clock.over.is_set(), device=input_ids.device)


@torch.no_grad()
def _padded(subject: Subject, work: Work, chunks: int) -> Rates:
    moments = _Moments(subject.clock)
    asked = prompts(subject, work, chunks)
    longest = max(map(len, asked))
    device = asked[0].device
    padded = torch.stack([torch.nn.functional.pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in asked])
    padding = torch.tensor([longest - len(prompt) for prompt in asked], device=device)
    began = time.monotonic()
    language_model(subject.model).generate(
        inputs_embeds=padded,
        attention_mask=(torch.arange(longest, device=device) >= padding[:, None]).long(),
        generation_config=subject.decoding().config(subject.budget(work)),
        stopping_criteria=StoppingCriteriaList([moments]),
    )
    return rates_of(began, [moments.trace] * chunks, sum(map(len, asked)))


def profile_steps(subject: Subject, work: Work, chunks: int) -> list[str]:
    """The kernels that the product's engine spends its decode steps in.

    What no kernel takes of a step is the CPU's: Python, launches, and waiting for a token to be known.
    """
    subject.clock.check()
    plan, enough = subject.plan(work, chunks), threading.Event()
    written = [0] * plan.slots

    def one(engine: Engine, number: int, prompt: Tensor) -> None:
        def listen(tokens: list[int]) -> bool:
            written[number] += len(tokens)
            return not subject.clock.over.is_set()

        engine.generate(prompt, plan.slot_tokens - len(prompt), listen, enough)

    with subject.runner(plan) as engine, ThreadPoolExecutor(plan.slots) as pool:
        asked = prompts(subject, work, plan.slots)
        running = [pool.submit(one, engine, number, prompt) for number, prompt in enumerate(asked)]
        try:
            return _profile(subject, written, running)
        finally:
            enough.set()


def _profile(subject: Subject, written: list[int], running: Sequence[Future[None]]) -> list[str]:
    while not all(written) and not any(future.done() for future in running):
        time.sleep(POLL_SECONDS)
    before, began = sum(written), time.monotonic()
    with profile(activities=[ProfilerActivity.CUDA if subject.meter.on_gpu else ProfilerActivity.CPU]) as profiler:
        time.sleep(PROFILED_SECONDS)
        subject.meter.sync()
        seconds = time.monotonic() - began
    times = {
        event.key: (event.self_device_time_total if subject.meter.on_gpu else event.self_cpu_time_total) / 1e6
        for event in profiler.key_averages()
        if event.device_type.name == ("CUDA" if subject.meter.on_gpu else "CPU")
    }
    return kernel_table(times, (sum(written) - before) / len(written), seconds)


def measure_card(device: torch.device) -> Card:
    """What a device that is not in the table really does: a copy, and a product of two square matrices."""
    meter = Meter(device)
    source = torch.zeros(2**29 if meter.on_gpu else 2**23, dtype=torch.bfloat16, device=device)
    side = 8192 if meter.on_gpu else 256
    matrix = torch.randn(side, side, dtype=torch.bfloat16, device=device)
    target = torch.empty_like(source)
    copying = _fastest(meter, lambda: target.copy_(source))
    multiplying = _fastest(meter, lambda: matrix @ matrix)
    return Card("measured", 2 * source.nbytes / copying, 2 * side**3 / multiplying)


def _fastest(meter: Meter, run: Callable[[], object], times: int = 5) -> float:
    def once() -> float:
        meter.sync()
        began = time.monotonic()
        run()
        meter.sync()
        return time.monotonic() - began

    return min(once() for _ in range(times))

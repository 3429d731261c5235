"""The two engines answer alike, whatever comes and goes, and survive what goes wrong."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelDoesNotFitError, ModelError, ModelFatalError
from dropscribe.models.base import Audio
from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.engine import Engine, Reference
from dropscribe.models.vibevoice.generation import Decoding, Generation, Stop
from dropscribe.models.vibevoice.runner import attention_choice
from dropscribe.models.vibevoice.runner.request import BUNDLE
from dropscribe.models.vibevoice.runner.runner import Runner
from dropscribe.models.vibevoice.runner.scheduler import Sizes
from tests.tiny.checkpoint import random_checkpoint

SIZES = Sizes(slots=6, tokens_per_slot=512, step_tokens=256)
REQUESTS = 32
NEVER = threading.Event()
pytestmark = pytest.mark.filterwarnings("error")


@dataclass(frozen=True)
class Tiny:
    """A tiny random model."""

    model: Any
    encoder: Encoder
    eos: int = 10_000  # a word that the model does not have, so that no answer ends by chance
    open: list[Runner] = field(default_factory=list)

    def decoding(self, **changes: float) -> Decoding:
        return Decoding(eos=(self.eos,), **changes)

    def runner(self, sizes: Sizes = SIZES, **changes: float) -> Runner:
        self.open.append(Runner(self.model, self.decoding(**changes), sizes, attention_choice.SDPA))
        return self.open[-1]

    def reference(self, **changes: float) -> Reference:
        return Reference(self.model, self.decoding(**changes))

    def embed(self, *words: int) -> torch.Tensor:
        return self.model.get_input_embeddings()(torch.tensor(words)).detach()

    def prompt(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.embed(1, 2, 3), audio, self.embed(4, 5)])


@pytest.fixture(scope="module")
def loaded(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    gc.freeze()  # garbage collections need not look through all of torch
    folder: Path = random_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    read = loader.load(str(folder), "fp32", device=torch.device("cpu"))
    yield Tiny(read.model, Encoder(read.model, 60))
    gc.unfreeze()


@pytest.fixture
def tiny(loaded: Tiny) -> Iterator[Tiny]:
    yield loaded
    for engine in loaded.open:
        engine.close()
    loaded.open.clear()


@pytest.fixture(scope="module")
def shared(loaded: Tiny) -> Iterator[Runner]:
    engine = Runner(loaded.model, loaded.decoding(), SIZES, attention_choice.SDPA)
    yield engine
    engine.close()


@pytest.fixture
def runner(shared: Runner, tiny: Tiny) -> Runner:  # for tests that leave it as it was
    return shared


@dataclass(frozen=True)
class Request:
    """One request: what to read, how long an answer, when to come, and after how many tokens to walk away."""

    audio: Audio
    budget: int
    arrival: float = 0.0
    patience: int | None = None


def noise(seconds: float, seed: int) -> Audio:
    size = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(seed).normal(0, 0.05, size).astype(np.float32)


def requests(count: int) -> list[Request]:
    chance = random.Random(1)
    return [
        Request(
            audio=noise(chance.uniform(0.1, 5), seed),
            budget=chance.randrange(1, 40) if seed % 5 else 400,  # long enough to be cancelled in the middle
            arrival=chance.uniform(0, 1.5),
            patience=None if seed % 5 else chance.randrange(12),
        )
        for seed in range(count)
    ]


def answer(tiny: Tiny, engine: Engine, request: Request) -> Generation:
    """Serve one request as the transcriber does."""
    cancel = threading.Event()
    heard: list[int] = []

    def listen(tokens: list[int]) -> bool:
        heard.extend(tokens)
        if request.patience is not None and len(heard) > request.patience:
            cancel.set()
        return True

    prompt = tiny.prompt(tiny.encoder.encode(request.audio, cancel))
    generation = engine.generate(prompt, request.budget, listen, cancel)
    assert heard == list(generation.tokens)
    return generation


def patient(request: Request) -> Request:
    return Request(request.audio, min(request.budget, 40))


def test_requests_that_come_and_go_are_answered_as_if_alone(tiny: Tiny) -> None:
    asked = requests(REQUESTS)
    longest = max((request for request in asked if request.patience is None), key=lambda request: request.budget)
    tiny = replace(tiny, eos=answer(tiny, tiny.reference(), longest).tokens[longest.budget // 2])
    alone, runner = tiny.reference(), tiny.runner()
    expected = [answer(tiny, alone, patient(request)) for request in asked]

    def arrive(request: Request) -> Generation:
        time.sleep(request.arrival)
        return answer(tiny, runner, request)

    with ThreadPoolExecutor(REQUESTS) as pool:
        found = list(pool.map(arrive, asked))
    for request, one, other in zip(asked, expected, found, strict=True):
        if request.patience is None:
            assert (other.tokens, other.stop) == (one.tokens, one.stop)
        else:
            common = min(len(one.tokens), len(other.tokens))
            assert other.tokens[:common] == one.tokens[:common]
    assert {generation.stop for generation in found} == {Stop.EOS, Stop.BUDGET, Stop.CANCELLED}


def test_both_engines_answer_as_the_whole_model_does(tiny: Tiny, runner: Runner) -> None:
    request = Request(noise(3.3, 7), budget=40)
    padded = np.pad(request.audio, (0, -request.audio.size % 3200))
    place = tiny.model.config.audio_token_id
    ids = torch.tensor([[1, 2, 3, *[place] * (padded.size // 3200), 4, 5]])
    whole = tiny.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        input_values=torch.from_numpy(padded)[None, None],
        sample=False,
        max_new_tokens=40,
        do_sample=False,
    )
    expected = tuple(whole[0, ids.shape[1] :].tolist())
    assert answer(tiny, tiny.reference(), request).tokens == expected
    assert answer(tiny, runner, request).tokens == expected


def test_an_answer_ends_at_the_word_that_ends_it(tiny: Tiny, runner: Runner) -> None:
    request = Request(noise(2, 3), budget=40)
    tokens = answer(tiny, runner, request).tokens
    last = next(token for token in tokens[5:] if token not in tokens[:5])
    ending = replace(tiny, eos=last)
    expected = answer(ending, ending.reference(), request)
    assert answer(ending, ending.runner(), request).tokens == expected.tokens == tokens[: tokens.index(last) + 1]
    assert expected.stop is Stop.EOS


def test_prompts_in_small_pieces_give_the_same_answers(tiny: Tiny) -> None:
    asked = [patient(request) for request in requests(8)]
    expected = [answer(tiny, tiny.reference(), request).tokens for request in asked]
    engine = tiny.runner(Sizes(slots=6, tokens_per_slot=512, step_tokens=16))
    with ThreadPoolExecutor(SIZES.slots) as pool:
        found = list(pool.map(lambda request: answer(tiny, engine, request).tokens, asked))
    assert found == expected


def test_a_repetition_penalty_sees_the_answer_alone_in_both_engines(tiny: Tiny) -> None:
    engine = tiny.runner(repetition_penalty=1.6)
    alone = tiny.reference(repetition_penalty=1.6)
    asked = [Request(noise(seconds, 5), budget=30) for seconds in (0.4, 1.1, 2.0, 2.6)]
    plain = [answer(tiny, tiny.reference(), request).tokens for request in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(lambda request: answer(tiny, engine, request).tokens, asked))
    assert found == [answer(tiny, alone, request).tokens for request in asked]
    assert found != plain


def test_at_a_temperature_answers_differ(tiny: Tiny) -> None:
    engine = tiny.runner(temperature=1.5)
    request = Request(noise(1, 2), budget=30)
    assert len({answer(tiny, engine, request).tokens for _ in range(3)}) == 3


@pytest.fixture(params=["runner", "reference"])
def either(request: pytest.FixtureRequest, tiny: Tiny) -> Engine:
    return request.getfixturevalue("shared") if request.param == "runner" else tiny.reference()


class Steps:
    """Counts the decode steps of a model, and acts in one of them."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.count = 0
        self._at = at
        self._act = act

    def __call__(self, *_: object) -> None:
        self.count += 1
        if self.count == self._at:
            self._act()


@pytest.fixture
def hooked(tiny: Tiny) -> Iterator[Callable[[Steps], None]]:
    handles: list[Any] = []
    yield lambda steps: handles.append(tiny.model.lm_head.register_forward_pre_hook(steps))
    for handle in handles:
        handle.remove()


def test_a_cancelled_request_takes_no_further_step(tiny: Tiny, either: Engine, hooked: Callable[[Steps], None]) -> None:
    cancel = threading.Event()
    steps = Steps(5, cancel.set)
    hooked(steps)
    generation = either.generate(tiny.embed(1, 2, 3), 400, lambda _: True, cancel)
    assert generation.stop is Stop.CANCELLED
    assert len(generation.tokens) == steps.count == 5


def test_a_request_cancelled_before_it_begins_takes_no_step(
    tiny: Tiny, either: Engine, hooked: Callable[[Steps], None]
) -> None:
    steps = Steps(0, lambda: None)
    hooked(steps)
    cancel = threading.Event()
    cancel.set()
    assert either.generate(tiny.embed(1, 2, 3), 400, lambda _: True, cancel) == Generation((), Stop.CANCELLED)
    assert steps.count == 0


def test_a_request_that_waits_for_a_slot_can_be_cancelled(tiny: Tiny) -> None:
    engine = tiny.runner(Sizes(slots=1, tokens_per_slot=512))
    first, second = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        begun = threading.Event()
        running = pool.submit(engine.generate, tiny.embed(1, 2, 3), 500, lambda _: begun.set() or True, first)
        begun.wait()
        waiting = pool.submit(engine.generate, tiny.embed(1, 2, 3), 500, lambda _: True, second)
        second.set()
        assert waiting.result() == Generation((), Stop.CANCELLED)
        first.set()
        assert running.result().stop is Stop.CANCELLED


def test_a_listener_that_has_heard_enough_ends_the_answer(tiny: Tiny, either: Engine) -> None:
    generation = either.generate(tiny.embed(1, 2, 3), 500, lambda _: False, NEVER)
    assert generation.stop is Stop.LISTENER
    assert 0 < len(generation.tokens) <= 2 * BUNDLE


def test_a_listener_that_fails_leaves_nothing_behind(tiny: Tiny, runner: Runner) -> None:
    def fail(_: list[int]) -> bool:
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        runner.generate(tiny.embed(1, 2, 3), 500, fail, NEVER)
    assert runner.generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER).stop is Stop.BUDGET


def test_a_request_longer_than_a_slot_is_refused(tiny: Tiny, runner: Runner) -> None:
    with pytest.raises(ModelError, match="3 tokens and an answer of 510 exceed the 512 of a slot"):
        runner.generate(tiny.embed(1, 2, 3), 510, lambda _: True, NEVER)


def test_a_cache_that_cannot_fit_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ModelDoesNotFitError, match="out of GPU memory"):
        tiny.runner(Sizes(slots=1000, tokens_per_slot=2_000_000))


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_when_memory_runs_out_all_requests_go_on_with_fewer_slots(
    tiny: Tiny, hooked: Callable[[Steps], None], caplog: pytest.LogCaptureFixture
) -> None:
    asked = [Request(noise(seconds, 9), budget=30) for seconds in (0.5, 1.0, 1.5, 2.0)]
    expected = [answer(tiny, tiny.reference(), request) for request in asked]
    engine = tiny.runner(Sizes(slots=4, tokens_per_slot=512, step_tokens=256))
    hooked(Steps(12, raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"))))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda request: answer(tiny, engine, request), asked))
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert engine.slots == 2
    assert "starting the language model again with 2 slots" in caplog.text


def test_a_request_too_large_for_the_memory_fails_alone(tiny: Tiny, hooked: Callable[[Steps], None]) -> None:
    engine = tiny.runner(Sizes(slots=1, tokens_per_slot=512, step_tokens=256))
    hooked(Steps(2, raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"))))
    with pytest.raises(ModelError, match=r"out of GPU memory.*lower DROPSCRIBE_MODEL_SLOTS"):
        engine.generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER)
    assert engine.generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER).stop is Stop.BUDGET


def test_an_error_reaches_everyone_and_the_next_request_is_served(tiny: Tiny, hooked: Callable[[Steps], None]) -> None:
    engine = tiny.runner()
    hooked(Steps(8, raising(RuntimeError("shapes do not match"))))
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(engine.generate, tiny.embed(1, 2, n), 400, lambda _: True, NEVER) for n in range(3)]
        for future in futures:
            with pytest.raises(ModelError, match="shapes do not match"):
                future.result()
    assert engine.generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER).stop is Stop.BUDGET


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: unspecified launch failure",
    ],
)
def test_an_error_that_breaks_the_gpu_is_fatal_from_then_on(
    tiny: Tiny, hooked: Callable[[Steps], None], message: str
) -> None:
    engine = tiny.runner()
    hooked(Steps(3, raising(RuntimeError(message))))
    for _ in range(2):
        with pytest.raises(ModelFatalError, match="the worker must restart"):
            engine.generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER)


def test_the_reference_tells_fatal_errors_too(tiny: Tiny, hooked: Callable[[Steps], None]) -> None:
    hooked(Steps(3, raising(RuntimeError("CUDA error: device-side assert triggered"))))
    with pytest.raises(ModelFatalError):
        tiny.reference().generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER)


def test_closing_leaves_nobody_waiting(tiny: Tiny) -> None:
    engine = tiny.runner()
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.generate, tiny.embed(1, 2, 3), 500, lambda _: begun.set() or True, NEVER)
        begun.wait()
        engine.close()
        with pytest.raises(ModelError, match="the model was stopped"):
            running.result()
    with pytest.raises(ModelError, match="the model was stopped"):
        engine.generate(tiny.embed(1, 2, 3), 20, lambda _: True, NEVER)

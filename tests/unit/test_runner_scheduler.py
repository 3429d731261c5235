"""The runner's scheduler: who joins, what a step computes, and that no page is lost or used twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.errors import ModelError, ModelUnavailableError
from dropscribe.models.vibevoice.generation import Generation, Stop
from dropscribe.models.vibevoice.runner import attention_choice
from dropscribe.models.vibevoice.runner.attention_choice import AttentionChoice
from dropscribe.models.vibevoice.runner.layout import StepLayout
from dropscribe.models.vibevoice.runner.pages import PAGE, PagePool, pages_for
from dropscribe.models.vibevoice.runner.request import BUNDLE, RunnerRequest
from dropscribe.models.vibevoice.runner.scheduler import MIN_STEP, RunnerScheduler, Sizes, StepBatch

EOS = 9


def request(prompt: int, max_new_tokens: int = 100) -> RunnerRequest:
    return RunnerRequest(range(prompt), max_new_tokens)


def scheduler(slots: int = 4, step_tokens: int = 8, *waiting: RunnerRequest) -> RunnerScheduler:
    found = RunnerScheduler(Sizes(slots, 512, step_tokens), [EOS])
    found.waiting.extend(waiting)
    return found


def step(one: RunnerScheduler, token: int = 1) -> StepBatch:
    one.drop_unwanted()
    one.admit()
    batch = one.schedule()
    one.advance(batch, [token] * len(batch.choosing()))
    return batch


def counts(batch: StepBatch) -> list[int]:
    return [1] * len(batch.decoding) + [piece.count for piece in batch.pieces]


def test_prompts_are_computed_in_pieces_beside_decoding() -> None:
    a, b, c = request(2), request(3), request(10)
    one = scheduler(4, 8, a, b)
    assert counts(step(one)) == [2, 3]
    one.waiting.append(c)
    assert [counts(step(one)) for _ in range(3)] == [[1, 1, 6], [1, 1, 4], [1, 1, 1]]
    assert [len(each.tokens) for each in (a, b, c)] == [4, 4, 2]


def test_a_piece_that_does_not_end_its_prompt_chooses_no_token() -> None:
    one = scheduler(1, 8, request(10))
    assert not step(one).choosing()
    assert len(one.running[0].tokens) == 0
    step(one)
    assert len(one.running[0].tokens) == 1


def test_every_request_that_decodes_gets_a_token_however_small_the_step() -> None:
    one = scheduler(4, 1, *(request(1) for _ in range(4)))
    step(one)
    assert counts(step(one)) == [1, 1, 1, 1]


def test_a_request_joins_when_all_pages_that_it_can_need_are_free() -> None:
    one = scheduler(2, 512, request(PAGE, 1), request(2 * PAGE - 2, 2), request(1, 1))
    assert [pages_for(each.reserved) for each in one.waiting] == [2, 2, 1]
    step(one)
    assert len(one.running) == 1  # the first has ended; a row is free, but the third came last
    assert (one.pool.free, [len(each.pages) for each in one.running]) == (2, [2])


def test_first_come_is_first_served() -> None:
    asked = [request(5) for _ in range(6)]
    one = scheduler(2, 64, *asked)
    step(one)
    assert one.running == asked[:2]
    asked[0].unwanted = True
    step(one)
    assert one.running == asked[1:3]


def test_a_cancelled_request_takes_no_further_step_running_or_waiting() -> None:
    asked = [request(5) for _ in range(3)]
    one = scheduler(2, 64, *asked)
    step(one)
    asked[0].cancel.set()
    asked[2].cancel.set()
    assert counts(step(one)) == [1]
    assert not one.waiting
    assert asked[2].follow(lambda _: True) == Generation((), Stop.CANCELLED)


def test_what_ran_before_a_restart_comes_before_what_waited() -> None:
    asked = [request(5) for _ in range(3)]
    one = scheduler(2, 64, *asked)
    step(one)
    for each in one.running:
        each.restart(range(5 + len(each.tokens)))
    one.resize(Sizes(1, 512, 64))
    assert list(one.waiting) == asked
    assert counts(step(one)) == [6]
    assert asked[0].tokens == [1, 1]


def test_sizes_are_halved_until_nothing_is_left_to_give_up() -> None:
    one: Sizes | None = Sizes(6, 512, 1024)
    found = []
    while one:
        found.append((one.slots, one.step_tokens))
        one = one.smaller()
    assert found == [(6, 1024), (3, 512), (1, MIN_STEP)]


@given(st.integers(0, 2**32))
def test_pages_and_rows_are_never_shared_and_all_come_back(seed: int) -> None:
    chance = random.Random(seed)
    one = scheduler(5, chance.choice([4, 64, 600]))
    asked = [request(chance.randrange(1, 400), chance.randrange(1, 60)) for _ in range(20)]
    later = list(asked)
    while later or one.has_work:
        one.waiting.extend(later.pop() for _ in range(min(len(later), chance.randrange(3))))
        for each in one.running:
            each.unwanted = each.unwanted or chance.random() < 0.02
        step(one, chance.randrange(EOS + 1))
        pages = [page for each in one.running for page in each.pages]
        assert len(set(pages)) == len(pages) == 10 - one.pool.free
        assert len({each.row for each in one.running}) == len(one.running)
        assert all(each.cached < len(each.pages) * PAGE for each in one.running)
    assert one.pool.free == 10
    assert all(len(each.tokens) <= each.max_new_tokens for each in asked)


def test_pages_that_are_not_there_are_refused() -> None:
    pool = PagePool(3)
    taken = pool.take(2)
    with pytest.raises(ValueError, match="2 pages are needed, and 1 are free"):
        pool.take(2)
    pool.give_back(taken)
    with pytest.raises(ValueError, match="not taken"):
        pool.give_back(taken)


def test_tokens_are_handed_over_in_bundles_and_the_rest_at_the_end() -> None:
    one = request(3)
    for token in range(BUNDLE + 2):
        one.add(token, now=1.0 + token)
    assert one.queue.qsize() == 1
    one.end(Stop.EOS)
    heard: list[list[int]] = []
    found = one.follow(lambda tokens: heard.append(tokens) or True)
    assert [len(tokens) for tokens in heard] == [BUNDLE, 2]
    assert (found.tokens, found.stop, found.decode) == (tuple(range(BUNDLE + 2)), Stop.EOS, BUNDLE + 1)


def test_whoever_stops_listening_leaves_the_request_unwanted() -> None:
    enough, failing, failed = request(3), request(3), request(3)
    for one in (enough, failing, failed):
        one.add(1, now=1.0)
        one.end(Stop.CANCELLED, ModelError("no") if one is failed else None)
    assert enough.follow(lambda _: False).stop is Stop.LISTENER
    with pytest.raises(ZeroDivisionError):
        failing.follow(lambda _: bool(1 // 0))
    with pytest.raises(ModelError, match="no"):
        failed.follow(lambda _: True)
    assert enough.unwanted
    assert failing.unwanted


def test_the_layout_is_that_of_its_worked_example() -> None:
    first, second, third = request(40), request(7), request(10)
    for row, (one, cached) in enumerate([(first, 40), (second, 7), (third, 5)]):
        one.row, one.cached = row, cached
    one = scheduler(3, 5)
    one.running = [first, second, third]
    layout = StepLayout.of(one.schedule())
    assert layout.edges.tolist() == [0, 1, 2, 5]
    assert layout.positions.tolist() == [40, 7, 5, 6, 7]
    assert layout.ends.tolist() == [41, 8, 8]
    assert layout.by_token(layout.rows).tolist() == [0, 1, 2, 2, 2]
    assert layout.chooses.tolist() == [True, True, False]
    lengths = layout.lengths()
    assert (lengths.decoding, lengths.longest, lengths.queries, lengths.ends) == (2, (3, 41), (3,), (8,))


@pytest.mark.parametrize(
    ("asked", "capability", "in_16_bits", "installed", "chosen", "reason"),
    [
        ("auto", (9, 0), True, True, "flash-attn", "flash-attn is installed"),
        ("auto", (8, 0), True, True, "flash-attn", "the card supports it"),
        ("auto", (9, 0), True, False, "varlen", "flash-attn is not installed"),
        ("auto", (8, 0), True, False, "varlen", "supports PyTorch's kernel"),
        ("auto", (7, 5), True, True, "sdpa", "capability is 7.5"),
        ("auto", (7, 5), True, False, "sdpa", "the kernels need 8.0"),
        ("auto", (9, 0), False, True, "sdpa", "16 bits only"),
        ("auto", (8, 0), False, False, "sdpa", "16 bits only"),
        ("auto", None, True, True, "sdpa", "no GPU"),
        ("flash", (8, 0), True, True, "flash-attn", "DROPSCRIBE_VIBEVOICE_ATTENTION"),
        ("varlen", (9, 0), True, True, "varlen", "DROPSCRIBE_VIBEVOICE_ATTENTION"),
        ("sdpa", (9, 0), True, True, "sdpa", "DROPSCRIBE_VIBEVOICE_ATTENTION"),
    ],
)
def test_attention_is_chosen_with_a_reason(
    asked: str, capability: tuple[int, int] | None, in_16_bits: bool, installed: bool, chosen: str, reason: str
) -> None:
    found = attention_choice.choose(
        asked, capability, in_16_bits=in_16_bits, flash_installed=installed, problem=lambda _: ""
    )
    assert found.name == chosen
    assert reason in found.reason
    assert found.is_paged == (chosen != "sdpa")


@pytest.mark.parametrize(
    ("asked", "capability", "in_16_bits", "why"),
    [
        ("flash", (9, 0), True, "flash-attn is not installed"),
        ("varlen", (7, 5), True, r"capability is 7\.5"),
        ("varlen", (8, 0), False, "16 bits only"),
        ("varlen", None, True, "no GPU"),
    ],
)
def test_attention_that_cannot_run_is_refused_when_asked_for(
    asked: str, capability: tuple[int, int] | None, in_16_bits: bool, why: str
) -> None:
    with pytest.raises(ModelUnavailableError, match=f"{why}.*set DROPSCRIBE_VIBEVOICE_ATTENTION=sdpa"):
        attention_choice.choose(asked, capability, in_16_bits=in_16_bits, flash_installed=False, problem=lambda _: "")


@pytest.mark.parametrize(
    ("failing", "chosen"), [((), "flash-attn"), (("flash-attn",), "varlen"), (("flash-attn", "varlen"), "sdpa")]
)
def test_a_kernel_that_fails_its_check_is_passed_over_unless_it_is_asked_for(
    failing: tuple[str, ...], chosen: str
) -> None:
    def choose(asked: str) -> AttentionChoice:
        problem = {name: f"{name} is wrong here" for name in failing}
        return attention_choice.choose(
            asked, (9, 0), in_16_bits=True, flash_installed=True, problem=lambda name: problem.get(name, "")
        )

    found = choose("auto")
    assert found.name == chosen
    assert all(f"{name} is wrong here" in found.reason for name in failing)
    for asked, name in (("flash", "flash-attn"), ("varlen", "varlen")):
        if name in failing:
            with pytest.raises(ModelUnavailableError, match=f"cannot be {asked}: {name} is wrong here; set .*=sdpa"):
                choose(asked)
        else:
            assert choose(asked).name == name


def test_a_page_is_what_the_kernels_take() -> None:
    assert PAGE % 256 == 0

"""When a file is complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching.stability import EMPTY_PATIENCE, Stability

ONE = Observation(100, 1)
OTHER = Observation(200, 2)
EMPTY = Observation(0, 1)


def test_a_file_that_stands_still_long_enough_is_complete() -> None:
    stability = Stability(10)
    assert stability.observe({"a.wav": ONE}, 0) == []
    assert stability.observe({"a.wav": ONE}, 9.9) == []
    assert stability.observe({"a.wav": ONE}, 10) == ["a.wav"]


def test_one_look_is_never_enough() -> None:
    stability = Stability(0)
    assert stability.observe({"a.wav": ONE}, 1000) == []
    assert stability.observe({"a.wav": ONE}, 1000) == ["a.wav"]


def test_growth_starts_the_wait_anew() -> None:
    stability = Stability(10)
    stability.observe({"a.wav": ONE}, 0)
    assert stability.observe({"a.wav": OTHER}, 10) == []
    assert stability.observe({"a.wav": OTHER}, 19) == []
    assert stability.observe({"a.wav": OTHER}, 20) == ["a.wav"]


def test_a_new_time_at_the_same_size_is_a_change() -> None:
    stability = Stability(10)
    stability.observe({"a.wav": Observation(5, 1)}, 0)
    assert stability.observe({"a.wav": Observation(5, -1)}, 10) == []


def test_a_complete_file_is_reported_once_and_again_after_a_change() -> None:
    stability = Stability(1)
    stability.observe({"a.wav": ONE}, 0)
    assert stability.observe({"a.wav": ONE}, 1) == ["a.wav"]
    assert stability.observe({"a.wav": ONE}, 2) == []
    assert stability.observe({"a.wav": OTHER}, 3) == []
    assert stability.observe({"a.wav": OTHER}, 4) == ["a.wav"]


def test_known_files_are_reported_only_when_changed() -> None:
    stability = Stability(1, known={"a.wav": ONE, "b.wav": ONE})
    files = {"a.wav": ONE, "b.wav": OTHER}
    assert stability.observe(files, 0) == []
    assert stability.pending == ("b.wav",)
    assert stability.observe(files, 1) == ["b.wav"]


def test_a_wait_begins_with_the_end_of_the_pass_that_saw_the_file_first() -> None:
    stability = Stability(10)
    stability.observe({"a.wav": ONE}, 0, took=60)
    assert stability.observe({"a.wav": ONE}, 61, took=60) == [], "it may have been seen late, and early now"
    assert stability.due(61) == 9
    assert stability.observe({"a.wav": ONE}, 70) == ["a.wav"]


def test_what_is_hidden_is_not_forgotten() -> None:
    stability = Stability(10, known={"a.wav": ONE})
    stability.observe({}, 0, hidden=lambda path: path == "a.wav")
    assert stability.observe({"a.wav": ONE}, 10) == []
    assert stability.pending == ()


def test_an_empty_file_waits_longer_but_not_for_ever() -> None:
    stability = Stability(10)
    stability.observe({"a.wav": EMPTY}, 0)
    assert stability.observe({"a.wav": EMPTY}, 10 * EMPTY_PATIENCE - 1) == []
    assert stability.observe({"a.wav": EMPTY}, 10 * EMPTY_PATIENCE) == ["a.wav"]


def test_a_vanished_file_is_forgotten() -> None:
    stability = Stability(1, known={"old.wav": ONE})
    stability.observe({"a.wav": ONE}, 0)
    assert stability.observe({}, 1) == []
    assert stability.pending == ()
    assert stability.observe({"a.wav": ONE, "old.wav": ONE}, 2) == []
    assert stability.observe({"a.wav": ONE, "old.wav": ONE}, 3) == ["a.wav", "old.wav"]


def test_a_file_forgotten_by_name_is_reported_again() -> None:
    stability = Stability(1, known={"a.wav": ONE})
    stability.forget("a.wav")
    stability.forget("never-seen.wav")
    assert stability.observe({"a.wav": ONE}, 0) == []
    assert stability.observe({"a.wav": ONE}, 1) == ["a.wav"]


def test_due_tells_when_to_look_again() -> None:
    stability = Stability(10)
    assert stability.due(0) is None
    stability.observe({"a.wav": ONE, "empty.wav": EMPTY}, 0)
    stability.observe({"a.wav": ONE, "b.wav": ONE, "empty.wav": EMPTY}, 4)
    assert stability.due(4) == 6
    assert stability.due(11) == 0
    stability.observe({"a.wav": ONE, "b.wav": ONE, "empty.wav": EMPTY}, 11)
    assert stability.due(11) == 3
    assert stability.pending == ("empty.wav", "b.wav")


NAMES = ["a.wav", "b.wav", "c.wav"]
OBSERVATIONS = st.builds(Observation, st.integers(0, 2), st.integers(-1, 1))
FILES = st.dictionaries(st.sampled_from(NAMES), OBSERVATIONS)
STEPS = st.lists(st.tuples(st.integers(0, 40), FILES), max_size=15)


def _expected(
    name: str, known: Observation | None, history: list[tuple[int, Observation | None]], seconds: int
) -> list[int]:
    """By definition, from the whole history of one file: the steps at which it has to be reported."""
    reported, told, run_start = [], known, 0
    for step, (now, seen) in enumerate(history):
        if step and seen != history[step - 1][1]:
            run_start = step
        if seen != told:
            told = None
        patience = seconds * (1 if seen and seen.size else EMPTY_PATIENCE)
        if seen and told is None and step > run_start and now - history[run_start][0] >= patience:
            reported.append(step)
            told = seen
    return reported


@given(known=FILES, steps=STEPS, seconds=st.integers(0, 12))
def test_files_are_reported_exactly_when_the_definition_says(
    known: dict[str, Observation], steps: list[tuple[int, dict[str, Observation]]], seconds: int
) -> None:
    stability, now, told = Stability(seconds, known), 0, []
    histories: dict[str, list[tuple[int, Observation | None]]] = {name: [] for name in NAMES}
    for pause, files in steps:
        now += pause
        told.append(stability.observe(files, now))
        for name in NAMES:
            histories[name].append((now, files.get(name)))
    for name in NAMES:
        steps_told = [step for step, names in enumerate(told) if name in names]
        assert steps_told == _expected(name, known.get(name), histories[name], seconds)


@given(files=FILES, seconds=st.integers(1, 12), start=st.integers(0, 5))
def test_waiting_as_long_as_due_says_completes_a_file(files: dict[str, Observation], seconds: int, start: int) -> None:
    stability, now = Stability(seconds), float(start)
    stability.observe(files, now)
    reported = []
    while (pause := stability.due(now)) is not None:
        now += pause
        complete = stability.observe(files, now)
        assert complete
        reported += complete
    assert sorted(reported) == sorted(files)

"""Progress through a list, as a terminal and a log see it."""

from __future__ import annotations

import json

import pytest

from dropscribe.admin.context import Context
from dropscribe.admin.state import report
from dropscribe.admin.terminal import progress
from tests.unit.test_status import NOTHING


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time flies: nothing is waited for before it is told."""
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(progress, "EVERY", -1.0)


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(Context().err, "counting", [1, 2, 3])) == [1, 2, 3]
    with progress.busy(Context().err, "thinking"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_lines(slow: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(Context().err, "counting", [1, 2])) == [1, 2]
    assert capsys.readouterr().err.splitlines() == ["counting: 0 of 2", "counting: 1 of 2"]


def test_a_terminal_gets_a_bar(slow: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert list(progress.track(Context().err, "counting", [1, 2, 3])) == [1, 2, 3]
    assert "counting" in capsys.readouterr().err


def test_a_log_gets_a_line_for_each_step_and_how_many_bytes_are_done(
    slow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.byte_progress(Context().err) as report:
        report("starting", 0, 0)
        report("copying", 0, 2_000_000)
        report("copying", 1_500_000, 2_000_000)
    assert capsys.readouterr().err.splitlines() == ["starting", "copying", "copying, 1.5 MB of 2.0 MB"]


def test_a_log_names_each_of_two_fetches_side_by_side_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.byte_progress(Context().err) as report:
        for _ in range(3):
            report("fetching base", 0, 0)
            report("fetching campplus", 0, 0)
    assert capsys.readouterr().err.splitlines() == ["fetching base", "fetching campplus"]


def test_a_log_gets_the_name_of_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.step_progress(Context().err) as report:
        report("decoding")
        report("comparing")
    assert capsys.readouterr().err.splitlines() == ["decoding", "comparing"]


def test_up_tells_a_log_and_programs_what_is_being_fetched(slow: None, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        with report.make(as_json=as_json) as told:
            told.fetching("fetching base", 0, 0)
            told.fetching("fetching base", 50_000_000, 148_000_000)
    begun, under_way, *documents = capsys.readouterr().out.splitlines()
    assert (begun, under_way) == ("fetching base", "fetching base, 50.0 MB of 148.0 MB")
    assert [json.loads(one) for one in documents] == [{"event": "note", "message": line} for line in (begun, under_way)]


def test_up_shows_a_terminal_a_bar_of_what_is_being_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with report.make(as_json=False) as told:
        told.fetching("fetching base", 50_000_000, 148_000_000)
        told.update(NOTHING)
    assert "fetching base, 50.0 MB of 148.0 MB" in capsys.readouterr().out

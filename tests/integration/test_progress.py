"""Progress through a list, as a terminal and a log see it."""

from __future__ import annotations

import pytest

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import progress


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time flies: nothing is waited for before it is told."""
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(progress, "EVERY", -1.0)


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(Context(), "counting", [1, 2, 3])) == [1, 2, 3]
    with progress.busy(Context(), "thinking"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_lines(slow: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(Context(), "counting", [1, 2])) == [1, 2]
    assert capsys.readouterr().err.splitlines() == ["counting: 0 of 2", "counting: 1 of 2"]


def test_a_terminal_gets_a_bar(slow: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert list(progress.track(Context(), "counting", [1, 2, 3])) == [1, 2, 3]
    assert "counting" in capsys.readouterr().err

"""What the model is asked, and how much context it takes."""

from __future__ import annotations

import pytest

from dropscribe.core.errors import SettingsError
from dropscribe.models.context import check_context
from dropscribe.models.vibevoice import prompt


def test_the_request_tells_the_length_and_the_keys() -> None:
    asked = (
        "This is a 12.50 seconds audio, please transcribe it with these keys: Start time, End time, Speaker ID, Content"
    )
    assert prompt.request(12.5) == asked


def test_the_request_tells_the_context_before_it_asks() -> None:
    assert prompt.request(1, "Ada Lovelace") == (
        "This is a 1.00 seconds audio, with extra info: Ada Lovelace\n\n"
        "Please transcribe it with these keys: Start time, End time, Speaker ID, Content"
    )


def test_a_context_within_the_limit_is_counted() -> None:
    assert check_context("one two three", lambda text: len(text.split()), limit=3) == 3


def test_a_context_over_the_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(SettingsError, match=r"5,000 tokens and 2,048 are allowed; shorten"):
        check_context("word " * 5000, lambda text: len(text.split()), prompt.CONTEXT_TOKENS)

"""What the model is asked, and which names and topics it is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingsError
from models.vibevoice import prompt
from models.vibevoice.prompt import check_context, context_text, read_hotwords


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


def test_hotwords_stand_one_a_line_or_between_commas() -> None:
    text = "\ufeff# people, first\nAda  Lovelace\nCharles Babbage, Byron;Menabrea\n\n张三、李四\uff0c王五\n"
    assert read_hotwords(text) == ("Ada Lovelace", "Charles Babbage", "Byron", "Menabrea", "张三", "李四", "王五")


def test_comments_end_with_the_line_and_c_sharp_is_no_comment() -> None:
    assert read_hotwords("C#, F#  # languages\n#all of it\nAda,#Byron") == ("C#", "F#", "Ada")


def test_duplicates_are_dropped_and_the_first_spelling_stays() -> None:
    assert read_hotwords("NASA\nnasa, Nasa\nESA") == ("NASA", "ESA")


@given(st.text() | st.text("aB#,; \n"))
def test_any_file_gives_tidy_distinct_terms_that_read_back(text) -> None:
    terms = read_hotwords(text)
    assert all(term and term == " ".join(term.split()) for term in terms)
    assert read_hotwords("\n".join(terms)) == terms


def test_the_context_comes_before_the_terms_that_it_does_not_name() -> None:
    assert context_text(" A talk on\nengines by Babbage ", ["babbage", "Ada", "gin"]) == (
        "A talk on engines by Babbage; Ada, gin"
    )
    assert context_text("", ["Ada", "ada"]) == "Ada"
    assert context_text("a talk") == "a talk"
    assert context_text("", []) == ""


def test_a_context_within_the_limit_is_counted() -> None:
    assert check_context("one two three", lambda text: len(text.split()), limit=3) == 3


def test_a_context_over_the_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(SettingsError, match=r"5,000 tokens and 2,048 are allowed; shorten"):
        check_context("word " * 5000, lambda text: len(text.split()))

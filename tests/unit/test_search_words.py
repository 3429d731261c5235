"""Words as the search index holds them, and what queries mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.store import search_words
from dropscribe.store.search_words import Term

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
typed = st.text(st.sampled_from(list("ab \"*-:()^+'\\NEAR{}<>&|!é“”世\x00\udcff")), max_size=30)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("Café CAFE\u0301 cafe", ["cafe", "cafe", "cafe"]),
        ("Straße Øre Łódź", ["strasse", "ore", "lodz"]),
        ("well-known don't snake_case 3.5", ["well", "known", "don", "t", "snake", "case", "3", "5"]),
        ("你好world", ["你", "好", "world"]),
        ("カタカナ", ["カ", "タ", "カ", "ナ"]),
        ("한국어 말", ["한국어", "말"]),
        ("हिन्दी", ["हिन्दी"]),
        ("ﬁne ⑴ ½", ["fine", "1", "12"]),
        ("[Music] \udcff\x00", ["music"]),
    ],
)
def test_words_have_no_case_and_no_accents_in_any_script(text: str, keys: list[str]) -> None:
    assert search_words.keys(text) == keys


@given(any_text)
def test_a_word_holds_nothing_that_a_database_could_take_for_syntax(text: str) -> None:
    for word in search_words.words(text):
        assert 0 < len(word.key) <= search_words.MAX_WORD_LENGTH
        assert 0 <= word.start < word.end <= len(text)
        assert all(character.isalnum() or not character.isascii() for character in word.key)


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("budget plan", (Term(("budget",)), Term(("plan",)))),
        ('"next year" budget*', (Term(("next", "year")), Term(("budget",), prefix=True))),
        ("“next year”", (Term(("next", "year")),)),
        ('"next ye*"', (Term(("next", "ye"), prefix=True),)),
        ('"next ye"*', (Term(("next", "ye"), prefix=True),)),
        ("well-known", (Term(("well", "known")),)),
        ("-plan NOT text:AND", (Term(("plan",)), Term(("not",)), Term(("text", "and")))),
        ('an "open end', (Term(("an",)), Term(("open", "end")))),
        ('" * - "" ** :', ()),
        ("", ()),
    ],
)
def test_a_query_is_words_phrases_and_beginnings(query: str, terms: tuple[Term, ...]) -> None:
    assert search_words.parse(query) == terms


@given(typed)
def test_what_was_typed_word_for_word_is_found_in_itself(text: str) -> None:
    for term in search_words.parse(text):
        assert search_words.marks(text, [term])


@given(any_text, typed)
def test_marks_are_in_order_and_apart(text: str, query: str) -> None:
    before = 0
    for start, end in search_words.marks(text, search_words.parse(query)):
        assert before <= start < end <= len(text)
        before = end


def test_marks_show_the_words_as_they_were_written() -> None:
    text = "The Café's budget, budgets and the next  year."
    terms = search_words.parse('cafe budget* "next year"')
    assert [text[start:end] for start, end in search_words.marks(text, terms)] == [
        "Café",
        "budget",
        "budgets",
        "next  year",
    ]

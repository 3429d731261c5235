"""Scripts and letters: what is a word of its own, what stands without spaces, and what is torn by no line break."""

from __future__ import annotations

import pytest

from dropscribe.core.scripts import WORD_OR_SIGN, is_set_solid, is_syllabic, is_unspaced, letters
from dropscribe.worker.outputs.cues import width
from dropscribe.worker.outputs.text import join


@pytest.mark.parametrize(
    ("character", "syllabic", "unspaced", "solid"),
    [
        ("好", True, True, True),
        ("か", True, True, True),
        ("ー", True, True, True),  # lengthens the vowel before, in Katakana and Hiragana
        ("々", True, True, True),
        ("\uff76", True, True, False),  # a half-width kana
        ("ㄅ", True, True, True),
        ("ท", False, True, False),
        ("ລ", False, True, False),
        ("က", False, True, False),
        ("ក", False, True, False),
        ("한", False, False, False),
        ("。", False, False, True),
        ("\uff0c", False, False, True),
        ("é", False, False, False),
        ("ж", False, False, False),
        ("1", False, False, False),
        (" ", False, False, False),
    ],
)
def test_scripts_are_told_apart(character: str, syllabic: bool, unspaced: bool, solid: bool) -> None:
    assert (is_syllabic(character), is_unspaced(character), is_set_solid(character)) == (syllabic, unspaced, solid)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I'm told, don\u2019t!", ["I'm", "told", "don\u2019t"]),
        ("今天 OK。", ["今", "天", "OK"]),
        ("か\u3099き", ["か\u3099", "き"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("안녕 세상", ["안녕", "세상"]),
    ],
)
def test_words_are_found_and_signs_where_nothing_tells_where_words_end(text: str, words: list[str]) -> None:
    assert WORD_OR_SIGN.findall(text) == words


@pytest.mark.parametrize(
    ("letter", "columns"),
    [("e\u0301", 1), ("🇩🇪", 2), ("👨\u200d👩\u200d👧", 2), ("🙂🏽", 2), ("好", 2), ("한", 2), ("\u0301", 1)],
)
def test_a_letter_with_all_that_belongs_to_it_is_one_and_has_the_width_of_one(letter: str, columns: int) -> None:
    assert letters(letter + "好") == [letter, "好"]
    assert width(letter) == columns


def test_text_is_joined_without_a_space_only_between_what_is_set_solid() -> None:
    assert join("你好。", "我们") == "你好。我们"
    assert join("안녕", "세상") == "안녕 세상"
    assert join("你好", "OK") == "你好 OK"

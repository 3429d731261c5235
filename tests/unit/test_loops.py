"""A model that repeats itself without end is noticed soon; people who repeat themselves are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.models.vibevoice.loops import MAX_WORD, REPEATS, LoopDetector

CHORUS = "we all live in a yellow submarine, a yellow submarine, a yellow submarine"


def loops(text: str) -> bool:
    """Does a whole answer, one line a content, hold a loop?"""
    return LoopDetector().feed(text + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "No, no no no! No no no.",
        "very very very very very very very very very very very good",
        "\n".join([CHORUS] * 6),
        "\n".join([CHORUS, "and our friends are all aboard, many more of them live next door"] * 5),
        "one two three four five six seven eight nine ten " * 3,
        " ".join(map(str, range(1, 400))),
        "0 0 7 0 0 7 0 0 7 call 0 0 7",
        "对对对对对对\uff0c我知道",
        "哈哈哈哈哈哈哈哈哈哈哈",
        "一二三四五六七八九十" * 4,
        "はいはいはいはいはい、そうですね",
        "555555 ครับ",
        "\n".join(["Yes.", "No."] * 6),
        "hahahahahahahahahahahahaha",
        "https://example.org/" + "a-long-path/" * 8,
    ],
)
def test_natural_repetition_passes(text: str) -> None:
    assert not loops(text)


@pytest.mark.parametrize(
    "text",
    [
        "no " * 12,
        "I don't know. " * 12,
        "so NO, no! No... " * 12,  # neither case nor punctuation hides it
        "one two three four five six seven eight " * 12,
        "然后" * 12,
        "是" * 12,
        "对\uff0c" * 12,
        "我们今天来讨论吧" * 12,
        "そうですね" * 12,
        "ครับ" * 12,
        "\n".join(["thank you"] * 12),
        "\n".join([CHORUS] * 12),
        "\n".join([CHORUS, "and our friends are all aboard, many more of them live next door"] * 12),
        "a" * 200,
        "." * 200,
        "。" * 200,
        "lalala" * 100,
        ". . . . . . . . . . . . ",
    ],
)
def test_collapsed_answers_are_noticed(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize("gram", ["no", "oh my", "we will now go on with the next", "是", "对不起", "你好 there"])
def test_eleven_times_pass_and_the_twelfth_is_noticed_at_its_end(gram: str) -> None:
    detector = LoopDetector()
    for _ in range(REPEATS - 1):
        assert not detector.feed(gram + " ")
    assert detector.feed(gram + " ")


def test_something_said_between_starts_the_count_anew() -> None:
    assert not loops(" ".join(["no " * 11, "yes"] * 3))


def test_a_loop_stays_found() -> None:
    detector = LoopDetector()
    detector.feed("no " * 12)
    assert detector.feed("and then we went home")
    assert detector.found


def test_a_nine_gram_is_noticed_only_as_a_content() -> None:
    nine = "one two three four five six seven eight nine"
    assert not loops(f"{nine} " * 20)
    assert loops(f"{nine}\n" * 12)


def test_a_word_without_end_is_read_letter_by_letter() -> None:
    detector = LoopDetector()
    assert not detector.feed("a" * (MAX_WORD + REPEATS - 1))
    assert detector.feed("a")


UNITS = st.sampled_from(["no", "yes", "well,", "I", "know", "是", "对", "。", "[Music]"])


@given(
    before=st.lists(UNITS, max_size=8),
    gram=st.lists(UNITS, min_size=1, max_size=8),
    glue=st.sampled_from([" ", "\n"]),
    after=st.lists(UNITS, max_size=8),
)
def test_any_gram_of_up_to_eight_is_noticed_wherever_it_stands(before, gram, glue, after) -> None:
    looped = glue.join([" ".join(gram)] * REPEATS)
    assert loops("\n".join([" ".join(before), looped, " ".join(after)]))


@given(st.lists(UNITS, max_size=80), st.data())
def test_pieces_are_heard_like_the_whole(units, data) -> None:
    text = " ".join(units) + "\n"
    cut = data.draw(st.integers(0, len(text)))
    detector = LoopDetector()
    detector.feed(text[:cut])
    assert detector.feed(text[cut:]) == LoopDetector().feed(text)


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=60), st.integers(1, 6))
def test_distinct_words_repeated_a_few_times_each_pass(numbers, times) -> None:
    assert not loops(" ".join(f"{number} " * times for number in numbers))
    assert not loops("".join(f"{number} is said\n" * times for number in numbers))


@given(st.text())
def test_any_text_is_heard_without_raising(text) -> None:
    LoopDetector().feed(text)

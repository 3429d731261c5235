"""What readers stumble over is found in prose, and names are left alone."""

from __future__ import annotations

import pytest

from docs import plain_words

LISTED = plain_words.rules()


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("the worker is told to stop", 0, "told"),
        ("one\nwhat is no\n    recording", 1, "is no recording"),
        ("Whoever asks", 0, "Whoever"),
        ("the settings of now hold", 0, "the settings of now"),
    ],
)
def test_a_word_of_the_list_is_found_at_its_line(text: str, line: int, word: str) -> None:
    assert [(at, words) for at, words, _ in plain_words.found(text, LISTED)] == [(line, word)]


@pytest.mark.parametrize(
    "text",
    [
        "there is no recording; it is no longer than an hour",
        "the function `told` and `test_a_member_that_is_told_to_stop`",
        "```\nwhat was told\n```",
        "[a page](what-was-told.md)",
        "f'{told} times'",
        ">>> told",
    ],
)
def test_names_code_and_plain_sentences_are_left_alone(text: str) -> None:
    assert not list(plain_words.found(text, LISTED))


def test_documents_pages_and_the_product_are_read() -> None:
    read = {str(path.relative_to(plain_words.REPOSITORY)) for path, _, _ in plain_words.texts()}
    assert {"README.md", "docs/operations/failed.md", "core/errors.py", "admin/cli/commands.py"} <= read
    assert "docs/glossary.md" not in read, "it lists names that changed"

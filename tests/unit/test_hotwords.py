"""Names and topics: what a hotwords file means, what is made of it, and which files are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core import hotwords
from dropscribe.core.errors import SettingsError
from dropscribe.core.hotwords import context_of, context_text, read_file, read_hotwords
from dropscribe.core.settings import Settings


def terms(folder: Path, text: str) -> Path:
    path = folder / "terms.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_hotwords_stand_one_a_line_or_between_commas() -> None:
    text = "\ufeff# people, first\nAda  Lovelace\nCharles Babbage, Byron;Menabrea\n\n张三、李四\uff0c王五\n"
    assert read_hotwords(text) == ("Ada Lovelace", "Charles Babbage", "Byron", "Menabrea", "张三", "李四", "王五")


def test_comments_end_with_the_line_and_c_sharp_is_no_comment() -> None:
    assert read_hotwords("C#, F#  # languages\n#all of it\nAda,#Byron") == ("C#", "F#", "Ada")


def test_duplicates_are_dropped_and_the_first_spelling_stays() -> None:
    assert read_hotwords("NASA\nnasa, Nasa\nESA") == ("NASA", "ESA")


@given(st.text() | st.text("aB#,; \n"))
def test_any_file_gives_tidy_distinct_terms_that_read_back(text) -> None:
    found = read_hotwords(text)
    assert all(term and term == " ".join(term.split()) for term in found)
    assert read_hotwords("\n".join(found)) == found


def test_the_context_comes_before_the_terms_that_it_does_not_name() -> None:
    assert context_text(" A talk on\nengines by Babbage ", ["babbage", "Ada", "gin"]) == (
        "A talk on engines by Babbage; Ada, gin"
    )
    assert context_text("", ["Ada", "ada"]) == "Ada"
    assert context_text("a talk") == "a talk"
    assert context_text("", []) == ""


def test_topic_and_file_of_the_settings_hold_where_no_others_are_named(tmp_path: Path) -> None:
    settings = Settings(context="a talk", hotwords=terms(tmp_path, "Ada"))
    other = tmp_path / "other.txt"
    other.write_bytes(b"\xef\xbb\xbfByron\r\nMenabrea\r\n")  # as an editor on Windows writes it
    assert context_of(settings) == "a talk; Ada"
    assert context_of(settings, "engines") == "engines; Ada"
    assert context_of(settings, "", other) == "Byron, Menabrea"
    assert context_of(Settings()) == ""


def test_an_edited_file_counts_from_the_next_reading_on(tmp_path: Path) -> None:
    settings = Settings(hotwords=terms(tmp_path, "Ada"))
    assert context_of(settings) == "Ada"
    terms(tmp_path, "Byron")
    assert context_of(settings) == "Byron"


def test_a_context_that_grows_too_long_by_its_file_is_refused_by_name(tmp_path: Path) -> None:
    fits = terms(tmp_path, "a" * 9_991)
    assert len(context_of(Settings(), "a talk.", fits)) == 10_000
    with pytest.raises(SettingsError, match=r"hotwords of .*terms\.txt has 10,001 characters and 10,000 are allowed"):
        context_of(Settings(), "a talk..", fits)
    with pytest.raises(SettingsError, match="the context has 10,001 characters"):
        context_of(Settings(), "a" * 10_001)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"caf\xe9", "not in UTF-8"), ("Ada".encode("utf-16-le"), "not in UTF-8"), (b"#" * 1_000_001, "1,000,000 bytes")],
)
def test_a_file_that_is_no_list_of_terms_is_refused(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "terms.txt"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"cannot read the hotwords file {path}: .*{cause}; fix it, or name"):
        read_file(path)


def test_what_is_no_file_is_refused_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SettingsError, match="not a regular file"):
            read_file(path)
    with pytest.raises(SettingsError, match=r"gone\.txt: No such file.*DROPSCRIBE_HOTWORDS"):
        read_file(tmp_path / "gone.txt")


def test_the_longest_file_is_read_whole(tmp_path: Path) -> None:
    path = terms(tmp_path, "#" * (hotwords.MAX_BYTES - 4) + "\nAda")
    assert read_file(path) == ("Ada",)

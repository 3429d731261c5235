"""How the command line looks: nothing in a name reaches the terminal as a command, figures read well."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.admin.terminal import render
from dropscribe.core.types import JobPhase

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=80)
hostile = st.lists(
    st.one_of(any_text, st.sampled_from(["\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\u202e", "\r\n", "\udcff", "\x1b"]))
).map("".join)


@given(hostile)
def test_safe_text_is_one_line_that_a_terminal_shows_as_it_stands(text: str) -> None:
    shown = render.safe(text)
    assert all(unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    shown.encode()


@given(hostile)
def test_safe_text_is_safe_already(text: str) -> None:
    once = render.safe(text)
    assert render.safe(once) == once


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Größe 日本語 🎙️.wav", "Größe 日本語 🎙️.wav"),
        ("a\x1b[2J\x1b[1;31mb", "ab"),
        ("a\x1b]8;;http://x\x1b\\b", "ab"),
        ("a\nb\tc", "a b c"),
        ("caf\udce9.wav", "caf\ufffd.wav"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
    ],
)
def test_a_name_keeps_what_people_read_and_loses_the_rest(raw: str, shown: str) -> None:
    assert render.safe(raw) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (-0.2, "0.0 s"),
        (4.24, "4.2 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (3720, "1 h 02 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 00 h"),
        (2 * 86_400 + 3 * 3600 + 59, "2 d 03 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float | None, shown: str) -> None:
    assert render.duration(seconds) == shown


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(0, "0 bytes"), (1, "1 byte"), (950, "950 bytes"), (1500, "1.5 kB"), (245e6, "245.0 MB"), (5e15, "5.0 PB")],
)
def test_sizes_are_decimal(octets: float, shown: str) -> None:
    assert render.size(octets) == shown


@pytest.mark.parametrize(("number", "shown"), [(0, "0 files"), (1, "1 file"), (12_345, "12,345 files")])
def test_counts_agree_with_their_noun(number: int, shown: str) -> None:
    assert render.count(number, "file") == shown


def test_every_state_has_a_colour() -> None:
    assert set(render.PHASE_STYLES) == set(JobPhase)


def shown_through_a_pipe(monkeypatch: pytest.MonkeyPatch, what: object) -> str:
    pipe = io.StringIO()
    monkeypatch.setattr("sys.stdout", pipe)
    render.console().print(what)
    return pipe.getvalue()


def test_a_pipe_gets_no_colours_and_120_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    table = render.table("id", "state", "text")
    table.add_row("k3v9aaaa", render.phase(JobPhase.FAILED), "word " * 60)
    text = shown_through_a_pipe(monkeypatch, table)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) == render.PIPE_WIDTH


def test_columns_decides_the_width_and_ids_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = render.table("id", "text")
    table.add_row("k3v9aaaa", "x" * 300)
    text = shown_through_a_pipe(monkeypatch, table)
    assert "k3v9aaaa" in text
    assert max(map(len, text.splitlines())) <= 40


def test_markup_in_a_table_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    table = render.table("text")
    table.add_row("[red]:warning: [/nothing]")
    assert "[red]:warning: [/nothing]" in shown_through_a_pipe(monkeypatch, table)


@given(any_text)
def test_json_is_ascii_and_loses_nothing(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pipe = io.StringIO()
        patch.setattr("sys.stdout", pipe)
        render.write_json({"name": text})
    assert pipe.getvalue().isascii()
    assert json.loads(pipe.getvalue()) == {"name": json.loads(json.dumps(text))}

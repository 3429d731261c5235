"""`dropscribe search` as a person or a program sees it."""

from __future__ import annotations

import pytest

from dropscribe.admin.terminal import moments
from dropscribe.core.errors import UsageError
from dropscribe.store.session import Database
from tests.integration.console import Cli, admit, done


def test_a_hit_is_shown_with_file_time_speaker_and_mark(store: Database, cli: Cli) -> None:
    job_id = done(store, "talks/a.wav")
    shown = cli("search", "THERE")
    assert shown.code == 0
    head, first, second = shown.out.splitlines()
    assert head.startswith(f"/rec/talks/a.wav  ({job_id}, ")
    assert (first, second) == ("  0:00:00  Speaker 1: hello [there]", "  0:00:03  Speaker 3: you [there]")


def test_the_json_has_everything_about_a_hit(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    told = cli("search", "you", "th*", "--around", "1", "--json").json
    (hit,) = told["hits"]
    assert told["more"] is False
    assert (hit["job"], hit["source"], hit["start"], hit["end"]) == (job_id, "/rec/a.wav", 3.0, 4.0)
    assert (hit["speaker"], hit["text"]) == ("Speaker 3", "you there")
    assert hit["marks"] == [{"start": 0, "end": 3}, {"start": 4, "end": 9}]
    assert hit["before"] == [{"start": 2.0, "end": 3.0, "speaker": "Bob", "text": "hello"}]
    assert hit["after"] == []


def test_what_the_shell_unquoted_stands_side_by_side(store: Database, cli: Cli) -> None:
    done(store, "a.wav")
    assert "hello [there]" not in cli("search", "there hello").out
    assert "[hello there]" in cli("search", "hello there").out
    assert "[hello] [there]" in cli("search", "there", "hello").out


def test_a_search_is_narrowed(store: Database, cli: Cli) -> None:
    done(store, "a.wav")
    assert len(cli("search", "hello", "--json").json["hits"]) == 2
    assert len(cli("search", "hello", "--speaker", "bob", "--json").json["hits"]) == 1
    assert "nothing found" in cli("search", "hello", "--since", "1d").out
    assert "nothing found" in cli("search", "hello", "--folder", "/elsewhere").out
    assert len(cli("search", "hello", "--until", "1970-01-02", "--json").json["hits"]) == 2
    limited = cli("search", "hello", "--limit", "1")
    assert "the first 1; --limit 0 lists all" in limited.err
    assert cli("search", "hello", "-n", "1", "--json").json["more"] is True


@pytest.mark.parametrize("typed", ["x'; DROP TABLE jobs; --", 'a "b', "NEAR(a)", "col: *", "\x1b[2J x", "\udcff y"])
def test_nothing_that_is_typed_is_an_error(store: Database, cli: Cli, typed: str) -> None:
    done(store, "a.wav")
    shown = cli("search", "--", typed)
    assert (shown.code, shown.err) == (0, "")


def test_a_search_for_no_word_is_refused(store: Database, cli: Cli) -> None:
    shown = cli("search", "--", "-*-")
    assert (shown.code, shown.out) == (2, "")
    assert "no word to look for" in shown.err


def test_what_was_said_cannot_command_the_terminal(store: Database, cli: Cli) -> None:
    admit(store, "a.wav")
    assert "\x1b" not in cli("search", "--", "\x1b[31mx").err


@pytest.mark.parametrize("wrong", ["yesterday", "7", "2026-13-01", "-1d", ""])
def test_a_moment_that_is_none_is_refused_with_examples(wrong: str) -> None:
    with pytest.raises(UsageError, match="write 2026-11-20"):
        moments.moment(wrong)


def test_a_date_means_its_beginning_or_its_end() -> None:
    assert moments.moment("2026-11-20", end=True) - moments.moment("2026-11-20") == 86_400
    assert moments.moment("2026-11-20 15:30", end=True) == moments.moment("2026-11-20T15:30")
    assert moments.span("1.5h") == 5400

"""The page in a watched folder: what it says, and that nothing from outside gets into its markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import ATTENTION_STATES, JobState
from dropscribe.scheduler.duties.status_page import IN_WORDS, MOST, NAME, View, body, page
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.store.queries import Job
from dropscribe.store.roots import RootReport, WaitingFolder

REPORT = RootReport("/share", "here", "ext4", online=True)
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202e\udcff"


def job(path: str, state: JobState, reason: str = "", **changes: object) -> Job:
    made = dict.fromkeys(Job.__dataclass_fields__) | {"read": 0.0, "to_read": 0.0, "created_at": 0.0}
    return Job(**made | {"path": path, "state": state, "reason": reason} | changes)


def view(*jobs: Job, report: RootReport = REPORT) -> View:
    counts: dict[JobState, int] = {}
    for one in jobs:
        counts[one.state] = counts.get(one.state, 0) + 1
    parts = [[one for one in jobs if one.state in states] for states in PARTS]
    return View(report, counts, *parts)


PARTS = (
    (JobState.PREPARING, JobState.TRANSCRIBING, JobState.FINISHING),
    (JobState.QUEUED,),
    ATTENTION_STATES,
    (JobState.DONE, JobState.DUPLICATE),
)


class Reader(HTMLParser):
    """What a browser would see: elements, attributes, words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.add(tag)
        self.attributes |= set(attributes)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_what_waits_runs_and_failed_and_why() -> None:
    told = Reader(
        body(
            view(
                job("a.wav", JobState.QUEUED),
                job("b.wav", JobState.TRANSCRIBING, read=30.0, to_read=60.0),
                job("c.wav", JobState.FAILED, "there is no sound in it"),
                job("d.wav", JobState.DONE),
                report=replace(REPORT, pending=2, waiting=(WaitingFolder("talks/", "engine: no", 3),)),
            )
        )
    ).words
    for said in (
        "2 still being copied", "1 waiting", "a.wav", "being read, 50%", "failed: there is no sound", "done, ",
        "talks/", "3 wait: engine: no",
    ):  # fmt: skip
        assert said in told


def test_an_empty_folder_has_a_page_too() -> None:
    assert "No recordings yet" in body(view())


def test_a_long_list_is_cut_and_says_so() -> None:
    seen = view(*[job(f"{number}.wav", JobState.QUEUED) for number in range(MOST)])
    assert "and 950 more" in body(replace(seen, counts={JobState.QUEUED: MOST + 950}))


def test_every_state_that_is_listed_has_words() -> None:
    listed = {state for part in PARTS for state in part} - {JobState.QUEUED}
    assert listed == set(IN_WORDS)


@given(st.text(), st.text())
def test_nothing_from_outside_becomes_markup(name: str, reason: str) -> None:
    plain = Reader(page(body(view(job("a.wav", JobState.FAILED, "b"))), "share", 0.0))
    for text in (name + HOSTILE, HOSTILE):
        hostile = page(body(view(job(text, JobState.FAILED, reason + HOSTILE))), text, 0.0)
        read = Reader(hostile)
        assert (read.tags, read.attributes) == (plain.tags, plain.attributes)
        assert "script" not in read.tags
        hostile.encode()  # as it is written


def test_nothing_is_loaded_and_no_script_could_run() -> None:
    read = Reader(page("", "share", 0.0))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes
    assert read.tags.isdisjoint({"script", "link", "img", "iframe", "a", "form"})
    assert ("http-equiv", "refresh") in read.attributes


def test_the_page_is_no_recording() -> None:
    assert classify(NAME) is NameKind.NOT_MEDIA

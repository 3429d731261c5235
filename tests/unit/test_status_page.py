"""The page in a watched folder: what it says, and that nothing from outside gets into its markup."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import ATTENTION_STATES, JobPhase, JobState
from dropscribe.scheduler.duties.status_page import IN_WORDS, MOST, NAME, THROUGH, View, body, page
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.store.queries import Job
from dropscribe.store.roots import RootReport, WaitingFolder
from dropscribe.store.unfinished import Outlook, Unfinished
from dropscribe.store.written_files import WrittenFile

ROOT = "/share"
REPORT = RootReport(ROOT, "here", "ext4", online=True)
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m\u202e\udcff"


def job(path: str, state: JobState, reason: str = "", **changes: object) -> Job:
    made = dict.fromkeys(Job.__dataclass_fields__) | {"read": 0.0, "to_read": 0.0, "created_at": 0.0, "notes": []}
    return Job(**made | {"id": path, "path": path, "state": state, "reason": reason} | changes)


def queued(path: str, place: int | None = 1, left: float | None = None, **changes: object) -> Outlook:
    one = Unfinished(path, ROOT, path, JobState.QUEUED, "normal", 0.0, "model", None, None)
    return Outlook(replace(one, **changes), place, left)


def transcribed(path: str, read: float, left: float | None = None) -> Outlook:
    figures = {"running": 1, "read": read, "chunk_seconds": 60.0}
    return queued(path, None, left, state=JobState.TRANSCRIBING, **figures)


def view(*jobs: Job, queue: Sequence[Outlook] = (), report: RootReport = REPORT, **changes: Any) -> View:
    counts = Counter([*(one.state for one in jobs), *(one.recording.state for one in queue)])
    troubled, through = ([one for one in jobs if one.state in states] for states in (ATTENTION_STATES, THROUGH))
    return replace(View(report, ROOT, counts, queue, troubled, through), **changes)


def everywhere(seen: View) -> str:
    """The page where all folders may be told of."""
    return body(seen, seen.folders)


class Reader(HTMLParser):
    """What a browser would see: elements, attributes, words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.words = ""
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.add(tag)
        self.attributes |= set(attributes)
        self.links += [value for name, value in attributes if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_what_waits_runs_and_failed_and_why() -> None:
    seen = view(
        job("c.wav", JobState.FAILED, "there is no sound in it"),
        job("d.wav", JobState.DONE, finished_at=0.0, notes=["damaged at 0:00:07"]),
        queue=[queued("a.wav", place=3, left=250.0), transcribed("b.wav", 30.0, 20.0)],
        report=replace(REPORT, pending=2, waiting=(WaitingFolder("talks/", "engine: no", 3),)),
    )
    told = Reader(everywhere(seen)).words
    for said in (
        "2 still being copied here, 1 waiting, 1 being transcribed, 1 done, 1 to be checked",
        "a.wavplace 3, about 5 min left",
        "b.wavbeing transcribed, 50%, less than a minute left",
        "c.wavfailed: there is no sound in it",
        "d.wavdone, 19",
        "; damaged at 0:00:07",
        "talks/3 wait: engine: no",
    ):
        assert said in told


def test_what_waits_for_a_model_waits_though_it_is_prepared() -> None:
    prepared = queued("a.wav", state=JobState.TRANSCRIBING, waiting=1, chunk_seconds=60.0)
    told = Reader(everywhere(view(queue=[prepared]))).words
    assert "1 waiting" in told
    assert "transcribed" not in told


def test_every_time_has_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        told = Reader(page(everywhere(view(job("d.wav", JobState.DONE, finished_at=0.0))), "share", 0.0)).words
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "done, 1970-01-01 05:30 IST" in told
    assert "Last change 1970-01-01 05:30 IST (UTC+0530)" in told


def file(path: str, fmt: str) -> WrittenFile:
    return WrittenFile(path, "talks/a b.wav", fmt, "", True, None)


def test_a_recording_leads_to_itself_its_page_and_its_files() -> None:
    files = [file(f"{ROOT}/talks/a b.{name}", name) for name in ("txt", "json", "html")]
    elsewhere = file("/results/a.srt", "srt")
    done = job("talks/a b.wav", JobState.DONE)
    seen = view(done, files={done.id: [*files, elsewhere]})
    assert seen.folders == {"talks", "/results"}, "the scan process says of the other that nobody may list it"
    links = Reader(body(seen, {"", "talks"})).links
    assert links == ["talks/a%20b.wav", "talks/a%20b.html", "talks/a%20b.json", "talks/a%20b.txt"]


def test_no_name_makes_a_link_lead_elsewhere() -> None:
    for name in ("javascript:alert(1).wav", "//evil.example/a.wav", "a#b?c.wav", "\udcff.wav", "%2e%2e/a.wav"):
        (link,) = Reader(everywhere(view(job(name, JobState.FAILED)))).links
        assert os.fsencode(name) == unquote_to_bytes(link)
        assert set(":#?\\").isdisjoint(link)


def test_recordings_in_folders_that_not_all_readers_may_list_are_a_number() -> None:
    done = job("open/a.wav", JobState.DONE)
    hidden = file(f"{ROOT}/secret/a.txt", "txt")
    seen = view(
        done,
        job("secret/b.wav", JobState.DONE),
        job("secret/c.wav", JobState.FAILED, "why"),
        queue=[queued("secret/d.wav"), transcribed("secret/deep/e.wav", 30.0)],
        report=replace(REPORT, waiting=(WaitingFolder("secret/", "no", 3),)),
        files={done.id: [hidden]},
    )
    assert seen.folders == {"open", "secret", "secret/deep"}
    told = Reader(body(seen, {"", "open"}))
    assert "secret" not in told.words
    assert "why" not in told.words
    assert told.links == ["open/a.wav"]
    assert told.words.count("and 1 in folders that not every reader of this page may open") == 5
    assert "1 waiting, 1 being transcribed, 2 done, 1 to be checked" in told.words


def test_a_duplicate_does_not_tell_of_what() -> None:
    twin = job("a.wav", JobState.DUPLICATE, duplicate_of="x", notes=["same content as job x (secret/b.wav)"])
    told = Reader(everywhere(view(twin))).words
    assert "same content as another" in told
    assert "secret" not in told


def test_an_empty_folder_has_a_page_too() -> None:
    assert "No recordings yet" in everywhere(view())


def test_a_long_list_is_cut_and_says_so() -> None:
    seen = view(queue=[queued(f"{number}.wav", number) for number in range(MOST)])
    assert "and 950 more" in everywhere(replace(seen, counts={JobState.QUEUED: MOST + 950}))


def test_every_phase_that_is_listed_has_words() -> None:
    assert set(IN_WORDS) == set(JobPhase) - {JobPhase.CANCELLED}


@given(st.text(), st.text())
def test_nothing_from_outside_becomes_markup(name: str, reason: str) -> None:
    plain = Reader(page(everywhere(view(job("a.wav", JobState.FAILED, "b"))), "share", 0.0))
    for text in (name + HOSTILE, HOSTILE):
        hostile = page(everywhere(view(job(text, JobState.FAILED, reason + HOSTILE))), text, 0.0)
        read = Reader(hostile)
        assert read.tags == plain.tags
        assert {one for one in read.attributes if one[0] != "href"} == {
            one for one in plain.attributes if one[0] != "href"
        }
        assert len(read.links) == len(plain.links)
        assert "script" not in read.tags
        hostile.encode()  # as it is written


def test_nothing_is_loaded_and_no_script_could_run() -> None:
    read = Reader(page("", "share", 0.0))
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes
    assert read.tags.isdisjoint({"script", "link", "img", "iframe", "a", "form"})
    assert ("http-equiv", "refresh") in read.attributes


def test_the_page_is_no_recording() -> None:
    assert classify(NAME) is NameKind.NOT_MEDIA

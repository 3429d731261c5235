"""The page of a recording in Chromium: read, correct a word, name a speaker, and what a colleague did meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys

from dropscribe.core import corrections
from dropscribe.core.corrections import SplitEdit, TextEdit
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.store import queries, revisions
from dropscribe.store.revisions import NewRevision
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks
from dropscribe.worker.runtime.context import WorkerContext
from tests import axe
from tests.e2e.harness import wait_until
from tests.integration import console
from tests.integration.console import done
from tests.integration.one_worker import MakeContext, admit, carry_through
from tests.integration.serving import gate, listening

MAX_DRAWN = 600  # rows at once of a transcript, however long it is


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: the page asks the store nothing of its own."""
    return sqlite_url


@pytest.fixture
def worker(make_context: MakeContext) -> WorkerContext:
    return make_context(outputs=("json", "srt"))


@pytest.fixture
def address(database: Database, settings: Settings, tmp_path: Path) -> Iterator[str]:
    own = settings.model_copy(update={"home": tmp_path / "home"})
    with gate(database, own) as made, listening(made, own) as (host, port):
        yield f"http://{host}:{port}/recordings"


@pytest.fixture
def job(database: Database) -> str:
    """A recording that has a transcript, and is gone."""
    return done(database, "a.wav")


@pytest.fixture
def page(address: str, job: str, browser: Chrome) -> Iterator[Chrome]:
    yield opened(browser, f"{address}/{job}")
    browser.get("about:blank")


def opened(browser: Chrome, address: str) -> Chrome:
    """The page of a recording, opened by the operator, once the transcript is there."""
    browser.get(address)
    wait_until("the transcript is shown", lambda: texts(browser))
    return browser


def texts(page: Chrome) -> list[str]:
    found: list[str] = page.execute_script(
        "return [...document.querySelectorAll('.said')].map((one) => one.textContent)"
    )
    return found


def said(page: Chrome) -> str:
    text: str = page.execute_script("return document.getElementById('said').textContent")
    return text


def wait_for(what: str, page: Chrome, holds: Callable[[], bool]) -> None:
    wait_until(f"{what}; the page says {said(page)!r}", holds)


def press(page: Chrome, *keys: str) -> None:

    ActionChains(page).send_keys(*keys).perform()


def correct(page: Chrome, segment: int, text: str) -> None:
    """Write a text over a segment's, by its button and the keyboard."""

    page.execute_script("document.querySelector(`[data-edit='${arguments[0]}']`).click()", segment)
    field = page.switch_to.active_element
    assert field.tag_name == "textarea"
    field.clear()
    field.send_keys(text, Keys.ENTER)


def test_somebody_corrects_a_word_names_a_speaker_and_opens_the_srt(
    address: str, browser: Chrome, worker: WorkerContext, recording: Path, database: Database
) -> None:
    job = admit(worker, recording)
    assert carry_through(worker, job).state is JobState.DONE
    page = opened(browser, f"{address}/{job}")

    before = texts(page)
    correct(page, 0, "a <b>xylophone</b> & more")
    wait_for("the correction is shown", page, lambda: texts(page)[0] == "a <b>xylophone</b> & more")
    assert texts(page)[1:] == before[1:]
    name = page.find_element("css selector", "#people input")
    name.send_keys("Ada <i>Lovelace</i>", Keys.TAB)
    shown = "return document.getElementById('transcript').textContent"
    wait_for("the name is shown", page, lambda: "Ada <i>Lovelace</i>" in page.execute_script(shown))
    cpu_tasks.finish_job(worker, job)
    written = recording.with_suffix(".srt").read_text()
    assert "xylophone" in written
    assert json.loads(recording.with_suffix(".json").read_text())["speakers"][0]["name"] == "Ada <i>Lovelace</i>"
    link = page.find_element("css selector", ".downloads a[href$='format=srt']").get_attribute("href")
    got = page.execute_async_script("fetch(arguments[0]).then((answer) => answer.text()).then(arguments[1])", link)
    assert got == written
    history = page.execute_script("return document.getElementById('revisions').textContent")
    assert "a <b>xylophone</b> & more" in history
    last = page.execute_script("return [...document.querySelectorAll('.row a')].at(-1).hash")
    page.execute_script("location.hash = arguments[0]", last)
    there = "return document.getElementById('media').currentTime"
    wait_for("a link to a moment leads there", page, lambda: page.execute_script(there) > 0)
    wait_for("what is said is marked", page, lambda: bool(page.execute_script("return document.querySelector('.now')")))
    press(page, Keys.ESCAPE)
    page.find_element("id", "undo").click()
    wait_for("the name is taken back", page, lambda: queries.job(database, job).speakers.names == {})
    assert page.get_log("browser") == []


def test_the_second_of_two_is_told_and_keeps_what_was_written(page: Chrome, job: str, database: Database) -> None:
    edits = corrections.stored([TextEdit(0, "what the colleague heard")])
    revisions.add(database, job, NewRevision("colleague", edits, summary="1 text"))
    correct(page, 0, "what I heard")
    wait_for("the conflict is told", page, lambda: "somebody else has corrected this transcript" in said(page))
    assert texts(page)[0] == "what the colleague heard"
    field = page.switch_to.active_element
    assert (field.tag_name, field.get_property("value")) == ("textarea", "what I heard")

    field.send_keys(Keys.ENTER)
    wait_for("it is saved now", page, lambda: texts(page)[0] == "what I heard")
    who = [one.who for one in revisions.listing(database, job)]
    assert who[0] == "colleague"
    assert len(who) == 2


def test_axe_finds_nothing_grave_light_or_dark_while_a_word_is_corrected_nor_is_it_wider_than_a_phone(
    page: Chrome,
) -> None:
    assert axe.complaints(page) == []
    with axe.on_a_dark_phone(page):
        page.execute_script("document.querySelector('[data-edit]').click()")
        assert page.switch_to.active_element.tag_name == "textarea"
        assert page.execute_script("return document.documentElement.scrollWidth") <= axe.PHONE["width"]
        assert axe.complaints(page) == []


def test_a_passage_is_somebody_elses_and_a_segment_is_split(page: Chrome, job: str, database: Database) -> None:

    page.execute_script("document.querySelector(\"[data-who='0']\").click()")
    select = page.find_element("id", "who-speaker")
    page.execute_script(
        "arguments[0].value = [...arguments[0].options].find((one) => one.textContent === 'Somebody new').value", select
    )
    page.find_element("css selector", "#who button[value=save]").click()
    wait_for("the passage is somebody else's", page, lambda: queries.job(database, job).revision == 1)
    count = len(texts(page))
    words = texts(page)[0].split()
    wait_for("the page has read it again", page, lambda: "Saved" in said(page))
    page.execute_script("document.querySelector(\"[data-edit='0']\").click()")
    field = page.switch_to.active_element
    page.execute_script("arguments[0].setSelectionRange(arguments[1], arguments[1])", field, len(words[0]) + 2)
    field.send_keys(Keys.CONTROL, Keys.ENTER)
    wait_for("the segment is two", page, lambda: len(texts(page)) == count + 1)
    assert texts(page)[:2] == [words[0], " ".join(words[1:])]


def test_what_is_being_written_is_saved_before_another_segment_is_opened_and_survives_what_others_do(
    page: Chrome, job: str, database: Database
) -> None:
    page.execute_script("document.querySelector(\"[data-edit='1']\").click()")
    field = page.switch_to.active_element
    field.clear()
    field.send_keys("half a sent")
    page.find_element("css selector", "#people input").send_keys("Ada", Keys.TAB)
    wait_for("the name is kept", page, lambda: queries.job(database, job).speakers.names == {0: "Ada"})
    written = "return document.querySelector('#s1 textarea')?.value"
    wait_for("the rows are drawn again", page, lambda: "Saved" in said(page))
    assert page.execute_script(written) == "half a sent"
    page.execute_script("document.querySelector(\"[data-edit='0']\").click()")
    wait_for("it is saved", page, lambda: texts(page)[1] == "half a sent")
    wait_for("the other is opened", page, lambda: page.switch_to.active_element.tag_name == "textarea")
    assert page.execute_script(written) is None

    edits = corrections.stored([SplitEdit(0, 6)])
    revisions.add(database, job, NewRevision("colleague", edits, summary="1 split"))
    page.switch_to.active_element.send_keys(" and all", Keys.ENTER)
    wait_for("what has no segment stands by itself", page, lambda: bool(page.find_elements("css selector", ".left")))
    assert "hello there and all" in page.find_element("css selector", ".left").text
    assert texts(page)[:3] == ["hello", "there", "half a sent"]


def drawn(page: Chrome) -> list[int]:
    """The segments that have a row."""
    found: list[int] = page.execute_script(
        "return [...document.querySelectorAll('.row')].map((one) => +one.dataset.id)"
    )
    assert len(found) <= MAX_DRAWN
    return found


def in_sight(page: Chrome, segment: int) -> bool:
    script = (
        "const box = document.getElementById(arguments[0])?.getBoundingClientRect(); return [box?.top, box?.bottom]"
    )
    top, bottom = page.execute_script(script, f"s{segment}")
    return top is not None and 0 < top < bottom < page.execute_script("return innerHeight")


def test_of_a_long_transcript_what_is_near_is_drawn_wherever_its_reader_goes(
    address: str, browser: Chrome, database: Database
) -> None:
    last = 1999
    job = console.long(database, last + 1)
    page = opened(browser, f"{address}/{job}#t={1000 * console.SECONDS}")
    wait_for("a link to a moment leads there", page, lambda: in_sight(page, 1000))
    wait_for("all of it is there", page, lambda: not page.find_element("id", "loading").is_displayed())
    assert in_sight(page, 1000)
    page.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    wait_for("the end is drawn", page, lambda: last in drawn(page))
    assert 1000 not in drawn(page)
    page.execute_script("scrollTo(0, 0)")
    wait_for("the beginning is drawn", page, lambda: 0 in drawn(page) and last not in drawn(page))

    page.execute_script("document.activeElement.blur()")
    press(page, "/", "s1500", Keys.ENTER)
    wait_for("a hit that was not drawn is found", page, lambda: in_sight(page, 1500))
    assert page.execute_script("return document.getElementById('count').value") == "1 of 1"
    correct(page, 1500, "a <b>correction</b>")
    wait_for("it is corrected", page, lambda: "Saved" in said(page))
    assert (queries.job(database, job).revision, in_sight(page, 1500)) == (1, True)

    page.execute_script("document.querySelector(\"[data-edit='1501']\").click()")
    press(page, "half a sent")
    page.execute_script("scrollTo(0, 0)")
    wait_for("the beginning is drawn", page, lambda: 0 in drawn(page))
    assert page.execute_script("return document.querySelector('textarea').value").endswith("half a sent")
    page.find_element("css selector", "#people input").send_keys("Ada", Keys.TAB)
    shown = "return document.getElementById('transcript').textContent"
    wait_for("it is read again", page, lambda: "Ada" in page.execute_script(shown))
    assert page.execute_script("return document.querySelector('#s1501 textarea').value").endswith("half a sent")
    press(page, Keys.ESCAPE)
    page.execute_script("follow.checked = true; media.currentTime = arguments[0]", 300.5 * console.SECONDS)
    page.execute_script("media.dispatchEvent(new Event('timeupdate'))")
    wait_for("it follows the sound", page, lambda: in_sight(page, 300))
    assert page.execute_script("return document.querySelector('.now').id") == "s300"
    press(page, "e")
    assert page.switch_to.active_element.find_element("xpath", "ancestor::p").get_attribute("id") == "s300"
    assert [one for one in page.get_log("browser") if "/media - Failed" not in one["message"]] == []

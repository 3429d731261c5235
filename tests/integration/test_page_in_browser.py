"""The transcript as a page, in a real browser and from a file: it plays, follows, jumps, finds, renames, prints."""

from __future__ import annotations

import base64
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from dropscribe.core.types import EngineInfo, Segment, Source, Span, Speaker, Transcript
from dropscribe.worker.outputs import render

PATIENCE = 30.0  # s; how long a browser may take for anything
SECONDS = 40.0
HOSTILE = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=1</script>"

TALK = Transcript(
    job_id="7k3m9x2a",
    source=Source("/rec/talk.wav", 0, "0" * 64, SECONDS, "wav", "pcm_s16le", 1, 8000),
    engine=EngineInfo("scripted", "none", "none"),
    segments=(
        Segment(0.0, 0.4, "Good morning, shall we start?", 0),
        Segment(0.4, 0.8, "The budget is on page two.", 1),
        Segment(0.6, 5.0, "Not the budget again!", 0),
        Segment(5.0, 6.0, HOSTILE, 1, confidence=0.2),
        Segment(20.0, 25.0, "A budget (of sorts) is a budget.", 1),
        *(Segment(25.0 + i / 10, 25.1 + i / 10, f"Row {i}.", i % 2) for i in range(100)),
    ),
    speakers=(Speaker(0, "", 5.2), Speaker(1, "Grace", 6.0)),
    reasons=("a stretch of speech was not read",),
    uncovered_speech=(Span(6.5, 19.0),),
)


def write_sound(path: Path) -> Path:
    clock = np.arange(round(SECONDS * 8000)) / 8000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((3000 * np.sin(2 * np.pi * 300 * clock)).astype("<i2").tobytes())
    return path


@dataclass
class Page:
    """One open page."""

    browser: Chrome
    path: Path

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str) -> Any:
        return self.browser.execute_script(f"return {script}")

    def until(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.02).until(lambda _: condition())

    def press(self, *keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(*keys)

    def now(self) -> list[str]:
        """The rows that are being said, by id."""
        return self.run("[...document.querySelectorAll('.now')].map((row) => row.id)")

    def at(self) -> float:
        return float(self.run("media.currentTime"))

    def loaded(self) -> None:
        self.until(lambda: self.run("media.readyState") >= 2)

    def in_view(self, selector: str) -> bool:
        bar, box = (self.run(f"document.querySelector('{one}').getBoundingClientRect()") for one in ("#bar", selector))
        return bool(bar["bottom"] <= box["top"] and box["bottom"] <= self.run("innerHeight"))

    def print_media(self, media: str = "", scheme: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Chrome, tmp_path: Path) -> Iterator[Open]:
    """Write a transcript's page, with the recording beside it unless told otherwise, and open it."""

    def open_it(
        transcript: Transcript = TALK, *, sound: bool = True, folder: Path | None = None, anchor: str = ""
    ) -> Page:
        source = replace(transcript.source, path=str(tmp_path / Path(transcript.source.path).name))
        if sound:
            source = replace(source, size=write_sound(Path(source.path)).stat().st_size)
        place = folder or tmp_path
        place.mkdir(parents=True, exist_ok=True)
        path = place / "talk.html"
        path.write_bytes(render(replace(transcript, source=source), "html", place))
        browser.get(path.as_uri() + anchor)
        page = Page(browser, path)
        if sound:
            page.loaded()
        return page

    yield open_it
    complaints = [
        entry["message"] for entry in browser.get_log("browser") if "ERR_FILE_NOT_FOUND" not in entry["message"]
    ]
    browser.execute_script("localStorage.clear()")
    assert not complaints


def test_a_click_plays_from_there_and_the_highlight_goes_with_the_sound(open_page: Open) -> None:
    page = open_page()
    page.one("#s0 .said").click()
    page.until(lambda: "s1" in page.now())
    page.until(lambda: page.now() == ["s2"])
    assert page.one("#s2").get_attribute("aria-current") == "true"
    assert page.one("#s0").get_attribute("aria-current") is None
    page.one("#s4 a").click()
    page.until(lambda: page.now() == ["s4"])
    assert 20 <= page.at() < 25


def test_everybody_who_speaks_at_once_is_marked(open_page: Open) -> None:
    page = open_page()
    page.run("media.currentTime = 0.7")
    page.until(lambda: page.now() == ["s1", "s2"])


def test_a_gap_can_be_heard(open_page: Open) -> None:
    page = open_page()
    assert "00:00:06 to 00:00:19: speech that this transcript does not cover" in page.one(".gap.uncovered").text
    page.one(".gap.uncovered a").click()
    page.until(lambda: page.at() >= 6.5)
    assert page.now() == []


def test_it_follows_what_is_said_unless_told_not_to(open_page: Open) -> None:
    page = open_page()
    assert not page.in_view("#s60")
    page.run("media.currentTime = 30.55")
    page.until(lambda: page.in_view("#s60"))
    page.press("f")
    page.run("media.currentTime = 0.1")
    page.until(lambda: page.now() == ["s0"])
    assert not page.in_view("#s0")


def test_keys_play_jump_and_explain_themselves(open_page: Open) -> None:
    page = open_page()
    page.press(" ")
    page.until(lambda: not page.run("media.paused") and page.at() > 0)
    page.press(" ")
    page.until(lambda: page.run("media.paused"))
    page.run("media.currentTime = 21")
    page.press(Keys.ARROW_RIGHT)
    assert page.at() == 26
    page.press(Keys.ARROW_LEFT)
    assert page.at() == 21
    page.press(Keys.ARROW_UP)
    assert page.at() == 5
    page.press(Keys.ARROW_DOWN)
    assert page.at() == 20
    page.press("?")
    assert "next, previous hit" in page.one("#help").text
    page.press(Keys.ESCAPE)
    assert not page.one("#help").is_displayed()


def test_search_marks_and_counts_hits_and_goes_from_one_to_the_next(open_page: Open) -> None:
    page = open_page()
    page.press("/")
    page.press("BUDGET")
    page.until(lambda: page.one("#count").text == "1 of 4")
    assert page.run("CSS.highlights.get('hit').size") == 4
    page.press(Keys.ENTER)
    assert page.one(".found").get_attribute("id") == "s2"
    page.one("h1").click()
    page.press("n", "n", "n")
    assert page.one("#count").text == "1 of 4"
    page.press("p")
    assert page.one("#count").text == "4 of 4"
    assert page.one(".found").get_attribute("id") == "s4"
    assert page.in_view("#s4")


def test_search_takes_what_is_typed_as_it_is(open_page: Open) -> None:
    page = open_page()
    page.one("#query").send_keys("(of  sorts)")
    page.until(lambda: page.one("#count").text == "1 of 1")
    page.one("#query").send_keys("*")
    page.until(lambda: page.one("#count").text == "no hits")
    page.press(Keys.ESCAPE)
    assert page.one("#count").text == ""
    assert page.run("CSS.highlights.get('hit').size") == 0


def test_a_new_name_is_shown_everywhere_and_kept_and_comes_as_a_command(open_page: Open) -> None:
    page = open_page()
    assert not page.one("#rename").is_displayed()
    page.one("input[data-speaker='0']").send_keys("Ann O'Neil", Keys.TAB)
    assert {place.text for place in page.all("[data-who='0']")} == {"Ann O'Neil"}
    command = "dropscribe speakers 7k3m9x2a --name '0=Ann O'\\''Neil'"
    assert page.one("#command").text == command
    page.browser.refresh()
    page.loaded()
    assert page.one("#s0").find_element(By.XPATH, "preceding-sibling::h2").text == "Ann O'Neil"
    page.one("#copy").click()
    page.until(lambda: page.one("#copied").text)
    assert page.run("getSelection().toString()") == command


def test_names_of_one_transcript_are_not_those_of_another(open_page: Open) -> None:
    open_page().one("input[data-speaker='1']").send_keys(" Hopper", Keys.TAB)
    other = open_page(replace(TALK, job_id="another1"))
    assert {place.text for place in other.all("[data-who='1']")} == {"Grace"}


def test_a_name_that_is_cleared_is_a_number_again(open_page: Open) -> None:
    page = open_page()
    page.one("input[data-speaker='1']").clear()
    page.one("h1").click()
    page.until(lambda: {place.text for place in page.all("[data-who='1']")} == {"Speaker 2"})
    assert page.one("#command").text == "dropscribe speakers 7k3m9x2a --name 1="


def test_hostile_text_is_shown_and_not_run(open_page: Open) -> None:
    page = open_page(replace(TALK, speakers=(Speaker(0, HOSTILE, 1.0), Speaker(1))))
    page.one("input[data-speaker='1']").send_keys(HOSTILE, Keys.TAB)
    page.browser.refresh()
    page.loaded()
    assert page.one("#s3 .said").text == HOSTILE
    assert {place.text for place in page.all("[data-who]")} == {HOSTILE}
    assert page.run("window.hacked") is None
    assert not page.all("img")


def test_only_the_pages_own_script_may_run(open_page: Open) -> None:
    page = open_page()
    page.run("document.body.append(Object.assign(document.createElement('b'), {id: 'bold'}))")
    blocked = (
        "(() => { try { document.getElementById('bold').innerHTML = '<i>'; return false } catch { return true } })()"
    )
    assert page.run(blocked)
    page.browser.get_log("browser")  # it says so, and that is what was asked for


def test_a_recording_that_is_not_there_is_said_and_may_be_chosen(open_page: Open, tmp_path: Path) -> None:
    page = open_page(sound=False)
    page.until(lambda: page.one("#absent").is_displayed())
    assert "talk.wav is not where this page looks for it" in page.one("#absent").text.replace("“", "").replace("”", "")
    page.one("#choose").send_keys(str(write_sound(tmp_path / "elsewhere.wav")))
    page.loaded()
    assert not page.one("#absent").is_displayed()
    assert page.one("#other-size").is_displayed()
    page.one("#s4 a").click()
    page.until(lambda: page.now() == ["s4"])


def test_the_recording_is_found_from_a_mirror_of_its_folder(open_page: Open, tmp_path: Path) -> None:
    odd = replace(TALK, source=replace(TALK.source, path="/rec/50 %#?\\ Größe.wav"))
    page = open_page(odd, folder=tmp_path / "results" / "inbox")
    assert page.run("media.duration") == SECONDS
    assert not page.one("#absent").is_displayed()


def test_a_link_to_a_row_leads_to_its_moment(open_page: Open) -> None:
    page = open_page(anchor="#s50")
    page.until(lambda: page.now() == ["s50"])
    assert page.in_view("#s50")


def test_it_prints_all_text_and_no_controls(open_page: Open) -> None:
    page = open_page()
    page.print_media("print")
    shown = {
        selector: page.one(selector).is_displayed() for selector in ("#bar", "#rename", ".skip", "#s99", ".uncovered")
    }
    page.print_media()
    assert shown == {"#bar": False, "#rename": False, ".skip": False, "#s99": True, ".uncovered": True}
    assert base64.b64decode(page.browser.print_page()).startswith(b"%PDF")


def test_it_is_dark_where_the_reader_wants_it_dark(open_page: Open) -> None:
    page = open_page()
    grounds = []
    for scheme in ("light", "dark"):
        page.print_media(scheme=scheme)
        grounds.append(page.run("getComputedStyle(document.body).backgroundColor"))
    page.print_media()
    assert grounds == ["rgb(255, 255, 255)", "rgb(21, 23, 27)"]


def test_every_control_has_a_name_for_those_who_do_not_see_it(open_page: Open) -> None:
    page = open_page()
    page.browser.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {"button", "checkbox", "link", "searchbox", "textbox"}
    named = {role: [] for role in controls}
    for node in nodes:
        if node.get("role", {}).get("value") in controls:
            named[node["role"]["value"]].append(node["name"]["value"])
    page.browser.execute_cdp_cmd("Accessibility.disable", {})
    assert {"Name of Speaker 1", "Search", "Follow", "Previous", "Next"} <= {
        name for one in named.values() for name in one
    }
    assert all(all(names) for names in named.values())


def test_ten_thousand_rows_are_searched_and_walked(open_page: Open) -> None:
    rows = tuple(
        Segment(i / 300, (i + 1) / 300, f"Sentence number {i} of a very long day.", i // 7 % 5) for i in range(10_000)
    )
    page = open_page(replace(TALK, segments=rows, uncovered_speech=()))
    page.run("media.currentTime = 33.001")
    page.until(lambda: page.now() == ["s9900"])
    assert page.in_view("#s9900")
    page.one("#query").send_keys("number 9999")
    page.until(lambda: page.one("#count").text == "1 of 1")
    assert page.in_view("#s9999")

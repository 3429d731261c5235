"""The pages in headless Chromium: they change by themselves, act on many, and can be used without a mouse or eyes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, TokenRole
from dropscribe.store import chunks, queries, switches, tokens
from dropscribe.store.session import Database
from tests import axe
from tests.integration import console
from tests.integration.serving import World, gate, listening, world
from tests.servers import free_port
from tests.web_runtime import served

pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PATIENCE = 60.0  # seconds
HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>.wav'
PAGES = ("/recordings", "/search?q=budget", "/fleet", "/settings", "/sign-in", "/nothing")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: a browser sees no difference."""
    return sqlite_url


@pytest.fixture
def there(database: Database, tmp_path: Path) -> World:
    """Recordings in many states, some of which have hostile names."""
    made = world(database, tmp_path / "inbox")
    console.fail(database, HOSTILE, HOSTILE)
    half = console.admit(database, f"half {HOSTILE}", str(made.root))
    console.prepare(database, half, (0.0, 60.0), (60.0, 120.0))
    console.read(database, half)
    assert chunks.claim(database, f"{half}.1", "model-1", 90)
    return made


@dataclass
class Window:
    """A browser at a server."""

    browser: Chrome
    server: str

    def open(self, path: str) -> None:
        self.browser.get(self.server + path)
        self.browser.execute_script("window.wasHere = true")

    def one(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str) -> Any:
        return self.browser.execute_script(f"return {script}")

    def text(self, selector: str = "main") -> str:
        """What is shown; asked in one step, as the page may change meanwhile."""
        return str(self.run(f"document.querySelector({selector!r})?.innerText ?? ''"))

    def until(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition())


@pytest.fixture
def window(browser: Chrome, database: Database, own: Settings, there: World) -> Iterator[Window]:
    """The browser of the operator, who needs no token."""
    with gate(database, own) as made, listening(made, own) as (host, port):
        yield Window(browser, f"http://{host}:{port}")
        complaints = [one["message"] for one in browser.get_log("browser") if one["level"] == "SEVERE"]
        made.app.state.stopping.set()
        browser.get("about:blank")  # or its stream of events would keep the server
    assert [one for one in complaints if "the server responded with a status of 4" not in one] == []


def test_axe_finds_nothing_grave_on_any_page_light_or_dark_nor_is_one_wider_than_a_phone(window: Window) -> None:
    window.open(PAGES[0])
    assert axe.complaints(window.browser) == []
    for path in PAGES:
        with axe.on_a_dark_phone(window.browser):
            window.open(path)
            assert window.run("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)", path
            assert window.run("document.documentElement.scrollWidth") <= axe.PHONE["width"], path
            assert axe.complaints(window.browser) == [], path
        assert window.run("window.hacked") is None, path


def test_the_list_changes_by_itself_and_what_is_selected_stays(
    window: Window, database: Database, there: World
) -> None:
    window.open("/recordings")
    window.one(f"#r-{there.ours} input").click()
    assert window.text("#selected") == "1 selected"
    window.run(f"document.querySelector('#r-{there.theirs} a').focus()")
    fresh = console.admit(database, "fresh.wav", str(there.root))
    window.until(lambda: "waiting" in window.text(f"#r-{fresh}"))
    claim = console.give_up(database, fresh, "the share is away")
    window.until(lambda: "the share is away" in window.text(f"#r-{claim}"))
    assert window.text("#selected") == "1 selected"
    assert window.one(f"#r-{there.ours} input").is_selected()
    assert window.run("document.activeElement.textContent") == "legal/zebra.wav"
    assert window.run("window.wasHere"), "the page was not loaded anew"


@contextmanager
def a_server(port: int) -> Iterator[None]:
    """In a process of its own, which is killed at the end."""
    command = [sys.executable, "-m", "dropscribe", "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert str(port) in server.stdout.readline()
        try:
            yield
        finally:
            server.kill()


def test_a_page_whose_server_is_killed_says_so_and_shows_by_itself_what_changed_meanwhile(
    browser: Chrome, store: Database, there: World
) -> None:
    port = free_port()
    window = Window(browser, f"http://127.0.0.1:{port}")
    with a_server(port):
        window.open("/recordings")
        window.one(f"#r-{there.ours} input").click()
    window.until(lambda: "The server does not answer just now" in window.text("#said"))
    fresh = console.admit(store, "fresh.wav", str(there.root))
    with a_server(port):
        window.until(lambda: "waiting" in window.text(f"#r-{fresh}") and not window.text("#said"))
        console.give_up(store, fresh, "the share is away")
        window.until(lambda: "the share is away" in window.text(f"#r-{fresh}"))
        assert window.one(f"#r-{there.ours} input").is_selected()
        assert window.run("window.wasHere"), "the page was not loaded anew"
        browser.get("about:blank")


def test_many_are_cancelled_at_once_by_keys_alone(window: Window, database: Database, there: World) -> None:
    waiting = [console.admit(database, f"{number}.wav", str(there.root)) for number in range(3)]
    window.open("/recordings?state=waiting")
    window.one("#all").send_keys(Keys.SPACE)
    window.until(lambda: window.text("#selected") == "3 selected")
    window.one("[data-act=cancel]").send_keys(Keys.ENTER)
    window.until(lambda: "3 cancelled" in window.text("#said"))
    assert {console.state_of(database, job) for job in waiting} == {JobState.CANCELLED}
    window.until(lambda: "No recording matches" in window.text())


def test_what_was_done_and_what_cannot_be_is_said_for_each(window: Window, database: Database, there: World) -> None:
    waiting = console.admit(database, "next.wav", str(there.root))
    window.open("/recordings")
    for job in (waiting, there.ours):
        window.one(f"#r-{job} input").click()
    window.run("document.getElementById('priority').value = 'high'")
    window.one("[data-act=priority]").click()
    window.until(lambda: "1 given the priority" in window.text("#said"))
    assert "hr/talk.wav: " in window.text("#said")
    assert queries.job(database, waiting).priority == "high"
    window.one("[data-act=rerun]").click()
    window.until(lambda: window.text("#said") == "1 under way, left alone. 1 read again")


def test_files_that_cannot_be_taken_are_named_and_the_others_are_sent(
    window: Window, tmp_path: Path, there: World
) -> None:
    for name in ("a.wav", "notes.txt", "b.wav"):
        (tmp_path / name).write_bytes(b"sound")
    window.open("/recordings")
    window.one("#files").send_keys("\n".join(str(tmp_path / name) for name in ("a.wav", "notes.txt", "b.wav")))
    window.until(lambda: window.text("#uploads").count("sent") == 2)
    assert "'notes.txt' is not the name of a recording; take one such as talk.wav" in window.text("#uploads")
    assert {path.name for path in there.root.iterdir() if path.is_file()} == {"a.wav", "b.wav"}
    window.until(lambda: "b.wav" in window.text("#jobs"))


def test_the_fleet_is_paused_and_goes_on(window: Window, database: Database) -> None:
    window.open("/fleet")
    window.one("[data-switch=pause]").click()
    window.until(lambda: "The fleet is paused since" in window.text())
    assert switches.paused_since(database) is not None
    window.one("[data-switch=resume]").click()
    window.until(lambda: "The fleet is paused since" not in window.text())
    assert switches.paused_since(database) is None


def test_a_person_signs_in_and_comes_back_by_a_link_on_another_site(
    browser: Chrome, database: Database, own: Settings, there: World, tmp_path: Path
) -> None:
    secret = tokens.create(database, "ada", TokenRole.READER)
    with (
        gate(database, own.model_copy(update={"serve_trust_own_user": False})) as made,
        listening(made, own) as (host, port),
        served(tmp_path) as elsewhere,
    ):
        window = Window(browser, f"http://{host}:{port}")
        window.open("/search?q=budget")
        window.one("#token").send_keys("nonsense", Keys.ENTER)
        window.until(lambda: "The token is not valid" in window.text())
        window.one("#token").send_keys(secret, Keys.ENTER)
        window.until(lambda: "2 lines in 2 recordings" in window.text())
        assert "ada (reader)" in window.text(".top")
        (tmp_path / "index.html").write_text(f'<a href="{window.server}/recordings?name=talk">the talk</a>')
        browser.get(re.sub(r"127\.0\.0\.1", "localhost", elsewhere))
        window.one("a").click()
        window.until(lambda: "hr/talk.wav" in window.text())
        window.one(".top button").click()
        window.until(lambda: window.text("h1") == "Sign in")
        made.app.state.stopping.set()
        browser.get("about:blank")

"""A person with a browser: drops a file, watches it become a transcript, and finds by search what was said."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dropscribe.core.types import JobState
from tests.e2e.harness import Machine, speech, wait_until
from tests.e2e.test_server import address_of

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

# As a browser does when a person lets go of a file over the page.
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), (character) => character.charCodeAt(0));
const dropped = new DataTransfer();
dropped.items.add(new File([bytes], "dropped.wav"));
for (const kind of ["dragover", "drop"]) {
  document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
}
window.wasHere = true;
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, SERVE="true", SERVE_PORT="0")
    yield made
    made.close()


def test_a_file_is_dropped_watched_and_found_again(machine: Machine, browser: Chrome, tmp_path: Path) -> None:
    machine.up()
    browser.get(address_of(machine))
    browser.execute_script(DROP, base64.b64encode(speech(tmp_path / "dropped.wav").read_bytes()).decode())

    def shown(selector: str) -> str:
        return str(browser.execute_script(f"return document.querySelector({selector!r})?.innerText ?? ''"))

    wait_until("it is sent", lambda: "dropped.wav sent" in " ".join(shown("#uploads").split()))
    wait_until("the page says that it is done", lambda: "done" in shown("#jobs .phase"))
    assert browser.execute_script("return window.wasHere"), "the page was not loaded anew"
    job = machine.wait_for("dropped.wav", JobState.DONE)
    said = machine.transcript("dropped")["segments"][0]
    browser.get(f"{address_of(machine)}/search?q={said['text'].split()[0]}")
    link = browser.execute_script("return document.querySelector('.hits a').getAttribute('href')")
    assert link == f"/recordings/{job.id}#t={said['start']:.3f}"
    browser.get("about:blank")
    assert machine.stop()[0] == 0

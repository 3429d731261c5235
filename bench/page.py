"""How a browser does with the page of a ten-hour recording: until its text is there, and while somebody scrolls.

Run as `python -m bench.page`; takes about a minute. Server and Chromium are the real ones, on a transcript of 20,000
segments with times of words. Its rival is a transcript of 200: no frame of the long one may take much longer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.machine import private
from bench.readers import serve
from tests.browsers import chromium
from tests.e2e.harness import wait_until
from tests.integration import console

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

WHEEL = 1_500  # pixels at once, a flick
EVERY = 0.03  # seconds between two of them
SCROLLING = 15.0
PAUSE = 0.3
SETTLE = 0.5
HOUR = 3600.0
MILLISECONDS = 1e3
# Runs before the page's own script: notes when the first row is drawn, when all are read, and what kept the browser.
WATCH = """
window.seen = { long: [], gaps: [] };
new PerformanceObserver((list) => seen.long.push(...list.getEntries().map((one) => one.duration)))
  .observe({ type: "longtask", buffered: true });
let before = 0;
requestAnimationFrame(function frame(now) {
  if (before) seen.gaps.push(now - before);
  before = now;
  if (!seen.first && document.querySelector(".said")) seen.first = now;
  if (!seen.all && document.getElementById("loading")?.hidden) seen.all = now;
  requestAnimationFrame(frame);
});
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What somebody does with a page: how long it took, the longest task and the longest frame meanwhile, in ms."""

    segments: int
    what: str
    took: float
    longest_task: float
    longest_frame: float


def main(argv: Sequence[str] | None = None) -> int:
    """Open both pages, scroll and jump, print."""
    options = _parse(argv)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="dropscribe-page-", dir=options.directory) as name,
        private(Path(name), serve_port="0") as machine,
        chromium() as browser,
    ):
        address = serve(machine)
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        for count in (options.segments // 100, options.segments):
            browser.get(f"{address}/recordings/{console.long(machine.database, count)}")
            rows += _used(browser, count)
    print(f"{'segments':>9}  {'ms':34}{'took':>9}{'longest task':>14}{'longest frame':>15}")
    for row in rows:
        print(f"{row.segments:9,}  {row.what:34}{row.took:9,.0f}{row.longest_task:14,.0f}{row.longest_frame:15,.0f}")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--segments", type=int, default=20_000, help="of the long transcript")
    parser.add_argument("--directory", type=Path, help="where to work")
    return parser.parse_args(argv)


def _used(browser: Chrome, count: int) -> Iterator[Row]:
    """What a person does with the page that has just been opened."""
    wait_until("all is there", lambda: browser.execute_script("return seen.all"))
    seen = browser.execute_script("return seen")
    yield Row(count, "until the first text is drawn", seen["first"], max(seen["long"], default=0), max(seen["gaps"]))
    yield Row(count, "until all of it is there", seen["all"], max(seen["long"], default=0), max(seen["gaps"]))
    for what, act in (("scrolling by the wheel", _scroll), ("jumps about", _jump), ("a search for a word", _search)):
        browser.execute_script("seen.long = []; seen.gaps = [];")
        began = time.monotonic()
        act(browser)
        took = (time.monotonic() - began) * MILLISECONDS
        time.sleep(SETTLE)
        seen = browser.execute_script("return seen")
        yield Row(count, what, took, max(seen["long"], default=0), max(seen["gaps"]))


def _scroll(browser: Chrome) -> None:
    """Through the transcript with a mouse, as fast as a person can."""
    until = time.monotonic() + SCROLLING
    while time.monotonic() < until:
        wheel = {"type": "mouseWheel", "x": 400, "y": 400, "deltaX": 0, "deltaY": WHEEL}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
        time.sleep(EVERY)


def _jump(browser: Chrome) -> None:
    """To the end, the beginning and the places between, by the scroll bar and by the player."""
    for part in (1, 0, 0.5, 0.25, 0.75, 1, 0.1, 0.9):
        browser.execute_script("scrollTo(0, document.documentElement.scrollHeight * arguments[0])", part)
        time.sleep(PAUSE)
        browser.execute_script("location.hash = `#t=${Number(arguments[0]).toFixed(3)}`", part * 10 * HOUR)
        time.sleep(PAUSE)


def _search(browser: Chrome) -> None:
    """Type a word that is said in most segments, and go on to the next hits."""
    field = browser.find_element("id", "query")
    field.send_keys("budget")
    wait_until("it is found", lambda: "of" in browser.execute_script("return document.getElementById('count').value"))
    for _ in range(10):
        field.send_keys("\n")


if __name__ == "__main__":
    raise SystemExit(main())

"""Makes the pictures of the documents anew: `python docs/pictures/make.py`.

page.png is the page of the example in docs/outputs.md, seen by Chromium; terminal.svg is what `dropscribe status` says
while the samples are transcribed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from dropscribe.admin.state import fleet_status, status_view
from dropscribe.admin.state.fleet_status import Status
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState, Transcript
from dropscribe.store.session import open_database
from dropscribe.worker.outputs import render
from dropscribe.worker.outputs.json_ import from_json

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
COLUMNS = 110
PATIENCE = 300.0  # s
FLAGS = (
    "--headless=new --no-sandbox --mute-audio --hide-scrollbars --force-device-scale-factor=1.5 --window-size=860,900"
)


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory(prefix="dropscribe-pictures-") as scratch:
        page(HERE / "page.png", Path(scratch))
        terminal(HERE / "terminal.svg", Path(scratch))


def page(picture: Path, scratch: Path) -> None:
    """The page while the second speaker is heard, after a search."""
    transcript = example()
    recording = scratch / Path(transcript.source.path).name
    soundfile.write(recording, np.zeros(round(transcript.source.duration * 8000)), 8000)
    here = replace(transcript, source=replace(transcript.source, path=str(recording)))
    (scratch / "page.html").write_bytes(render(here, "html", scratch))
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "google-chrome"
    for flag in FLAGS.split():
        options.add_argument(flag)
    with Chrome(options, ChromeService(shutil.which("chromedriver"))) as browser:
        browser.get((scratch / "page.html").as_uri())
        until(lambda: browser.execute_script("return media.readyState") >= 2)
        browser.execute_script("media.currentTime = 7; $('query').value = 'budget'; find()")
        until(lambda: browser.execute_script("return document.querySelector('.now') !== null"))
        browser.save_screenshot(str(picture))


def example() -> Transcript:
    """The transcript that docs/outputs.md shows in every format."""
    text = (REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    return from_json(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])


def terminal(picture: Path, scratch: Path) -> None:
    """The status while the samples are transcribed, on a machine called `studio`."""
    inbox = scratch / "recordings"
    shutil.copytree(
        REPOSITORY / "samples", inbox, ignore=shutil.ignore_patterns("references", "*.py", "*.md", "__pycache__")
    )
    own = {
        "HOME": str(scratch / "state"),
        "STABLE_SECONDS": "2",
        "ENGINE": "whisper",
        "MODEL": "base",
        "RENEW_SECONDS": "1",
    }
    environment = os.environ | {f"DROPSCRIBE_{name}": value for name, value in own.items()}
    command = [sys.executable, "-m", "dropscribe", "up", str(inbox)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as up:
        shown = under_way(load(environment))
        up.terminate()
    host = socket.gethostname()
    workers = tuple(replace(worker, id=worker.id.replace(host, "studio")) for worker in shown.workers)
    roots = tuple(replace(root, path="/home/ada/recordings", host="studio") for root in shown.roots)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(status_view.draw(replace(shown, workers=workers, roots=roots)))
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # they would be fetched
    console.save_svg(str(picture), title="dropscribe status", code_format=frame)


def under_way(settings: Settings) -> Status:
    """The status once a recording is done, another is being read, and the speed is known."""
    until((settings.home / "dropscribe.db").exists)
    database = open_database(settings.database)
    seen: list[Status] = []

    def busy() -> bool:
        seen.append(fleet_status.gather(database, settings))
        jobs = seen[-1].jobs
        return bool(jobs.get(JobState.DONE) and jobs.get(JobState.TRANSCRIBING) and seen[-1].speed)

    until(busy)
    database.close()
    return seen[-1]


def until(condition: Callable[[], object]) -> None:
    """Wait for it, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("waited in vain")
        time.sleep(0.2)


if __name__ == "__main__":
    main()

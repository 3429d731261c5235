"""Makes the pictures of the documents again: `python docs/pictures/make.py`.

page.png is the page of the example in docs/outputs.md, seen by Chromium; terminal.svg is what `dropscribe status` says
while the samples are transcribed, and recordings.png what the server's page shows then; session.svg plays a run of
`dropscribe up` as it went, with its pauses shortened.
`python docs/pictures/make.py session` makes one of them.
"""

from __future__ import annotations

import html
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from dropscribe.admin.local.server_child import ADDRESS
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
FOLDER = "/home/ada/recordings"
PATIENCE = 300.0  # s
SESSION = (
    "cp samples/weather.flac samples/news.mp3 ~/recordings/",
    "dropscribe up ~/recordings --drain",
    "ls -C ~/recordings",
    "cat ~/recordings/weather.txt",
)
SESSION_COLUMNS = 100
TYPING = 1.5  # s before a command is there
LONGEST_PAUSE = 2.0  # s; what took longer is shown after this time
ROW = 20  # px
DOTS = ("#ff5f57", "#febc2e", "#28c840")
FLAGS = (
    "--headless=new --no-sandbox --mute-audio --hide-scrollbars --force-device-scale-factor=1.5 --window-size=860,900"
)


def main(wanted: Sequence[str]) -> None:
    """Make those that are wanted, or all."""
    makers = {
        "page": (page, "page.png"),
        "terminal": (terminal, "terminal.svg"),
        "recordings": (recordings, "recordings.png"),
        "session": (session, "session.svg"),
    }
    for name in wanted or makers:
        maker, picture = makers[name]
        with tempfile.TemporaryDirectory(prefix="dropscribe-pictures-") as scratch:
            maker(HERE / picture, Path(scratch))


def page(picture: Path, scratch: Path) -> None:
    """The page while the second speaker is heard, after a search."""
    transcript = example()
    recording = scratch / Path(transcript.source.path).name
    soundfile.write(recording, np.zeros(round(transcript.source.duration * 8000)), 8000)
    here = replace(transcript, source=replace(transcript.source, path=str(recording)))
    (scratch / "page.html").write_bytes(render(here, "html", scratch))
    with chromium() as browser:
        browser.get((scratch / "page.html").as_uri())
        until(lambda: browser.execute_script("return media.readyState") >= 2)
        browser.execute_script("media.currentTime = 7; $('query').value = 'budget'; find()")
        until(lambda: browser.execute_script("return document.querySelector('.now') !== null"))
        browser.save_screenshot(str(picture))


def chromium() -> Chrome:
    """A browser without a window."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "google-chrome"
    for flag in FLAGS.split():
        options.add_argument(flag)
    return Chrome(options, ChromeService(shutil.which("chromedriver")))


def example() -> Transcript:
    """The transcript that docs/outputs.md shows in every format."""
    text = (REPOSITORY / "docs" / "outputs.md").read_text(encoding="utf-8")
    return from_json(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])


def terminal(picture: Path, scratch: Path) -> None:
    """The status while the samples are transcribed, on a machine called `studio`."""
    with transcribing(scratch / "terminal") as settings:
        shown = under_way(settings)
    host = socket.gethostname()
    workers = tuple(replace(worker, id=worker.id.replace(host, "studio")) for worker in shown.workers)
    roots = tuple(replace(root, path=FOLDER, host="studio") for root in shown.roots)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(status_view.draw(replace(shown, workers=workers, roots=roots)))
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)  # they would be fetched
    console.save_svg(str(picture), title="dropscribe status", code_format=frame)


def recordings(picture: Path, scratch: Path) -> None:
    """The server's list of recordings while the samples are transcribed."""
    folders = "document.querySelectorAll('#drop code, #jobs th small')"
    with transcribing(scratch / "recordings") as settings, chromium() as browser:
        under_way(settings)
        browser.set_window_size(1200, 800)
        browser.get((settings.home / ADDRESS).read_text(encoding="ascii"))
        until(lambda: browser.execute_script("return document.querySelectorAll('#jobs progress').length"))
        # From here on the page stands still, or the folder would get its own name back.
        browser.execute_script("document.querySelector('#jobs').removeAttribute('data-live')")
        browser.execute_script(f"{folders}.forEach((one) => (one.textContent = arguments[0]))", FOLDER)
        browser.save_screenshot(str(picture))


@contextmanager
def transcribing(scratch: Path) -> Iterator[Settings]:
    """The settings of an `up` over the samples, which ends afterwards."""
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
        "SERVE_PORT": "0",
    }
    environment = os.environ | {f"DROPSCRIBE_{name}": value for name, value in own.items()}
    command = [sys.executable, "-m", "dropscribe", "up", str(inbox)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as up:
        try:
            yield load(environment)
        finally:
            up.terminate()


def session(picture: Path, scratch: Path) -> None:
    """A newcomer's first minute: each command, and each line that it printed, when it did."""
    home = scratch / "home"
    (home / "recordings").mkdir(parents=True)
    own = {"STABLE_SECONDS": "2", "ENGINE": "whisper", "MODEL": "base", "HOME": str(home / ".local/state/dropscribe")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {f"DROPSCRIBE_{name}": value for name, value in own.items()}
    environment |= {"PATH": path, "COLUMNS": str(SESSION_COLUMNS)}
    lines: list[tuple[float, str, bool]] = []  # s from the beginning, text, whether somebody typed it
    now = 0.0
    for command in SESSION:
        now += TYPING
        lines.append((now, f"$ {command}", True))
        for pause, line in played(command.replace("~", str(home)), environment):
            now += min(pause, LONGEST_PAUSE)
            lines += [(now, part, False) for part in wrapped(line.replace(str(home), "~"))]
    picture.write_text(drawn(lines, now + 2 * TYPING), encoding="utf-8")


def played(command: str, environment: Mapping[str, str]) -> Iterator[tuple[float, str]]:
    """Run a command; each line of what it prints, after the seconds since the one before."""
    before = time.monotonic()
    with subprocess.Popen(
        ["bash", "-c", command], cwd=REPOSITORY, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            at = time.monotonic()
            if line.strip():
                yield at - before, line.rstrip()
            before = at


def wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, SESSION_COLUMNS, subsequent_indent="    ") or [""]


def drawn(lines: Sequence[tuple[float, str, bool]], length: float) -> str:
    """An SVG in which each line appears at its time; after `length` seconds it begins again."""
    rows = [
        f'<text x="16" y="{52 + number * ROW}" class="{"typed" if typed else "said"}">{html.escape(text)}'
        f'<animate attributeName="opacity" values="0;0;1;1" keyTimes="0;{at / length:.4f};{at / length:.4f};1" '
        f'dur="{length:.1f}s" repeatCount="indefinite"/></text>'
        for number, (at, text, typed) in enumerate(lines)
    ]
    width, height = 32 + round(SESSION_COLUMNS * 8.45), 52 + len(lines) * ROW
    dots = "".join(f'<circle cx="{22 + 20 * n}" cy="20" r="6" fill="{c}"/>' for n, c in enumerate(DOTS))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        "<style>text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#d0d0d0;white-space:pre}"
        ".typed{fill:#8ae234}</style>"
        f'<rect width="{width}" height="{height}" rx="8" fill="#292929"/>{dots}\n' + "\n".join(rows) + "\n</svg>\n"
    )


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
    main(sys.argv[1:])

"""Chromium without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

FLAGS = (
    "--headless=new --no-sandbox --mute-audio --disable-dev-shm-usage --disable-background-networking --no-first-run"
)


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser that keeps what pages complain of. Raises FileNotFoundError where it or its driver is not installed."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        raise FileNotFoundError("Chromium with its driver (on Debian: chromium, chromium-driver)")
    options = ChromeOptions()
    options.binary_location = program
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(driver))
    yield chrome
    chrome.quit()

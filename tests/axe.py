"""axe-core, which knows what people who do not see a page, or use no mouse, stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from tests import npm

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

VERSION = "4.14.1"
SHA512 = (
    "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
    "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5"
)
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then((found) => done(found.violations));
"""
GRAVE = {"serious", "critical"}
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}


@cache
def _script() -> str:
    return npm.file_of(npm.package("axe-core", VERSION, SHA512), "axe.min.js").decode()


def complaints(browser: Chrome) -> list[str]:
    """What axe-core finds on the page that is open, and calls serious or critical."""
    browser.execute_script(_script())
    return [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes']]}"
        for one in browser.execute_async_script(RUN)
        if one["impact"] in GRAVE
    ]


@contextmanager
def on_a_dark_phone(browser: Chrome) -> Iterator[None]:
    """A narrow screen, and a person who likes it dark."""
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": dark})
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})

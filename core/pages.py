"""HTML pages from templates. All that is filled in is escaped, but for what a template itself calls `safe`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def text_of(package: str, path: str) -> str:
    """A file that lies beside the modules of a package; `path` is relative to it."""
    return (files(package) / path).read_text(encoding="utf-8")


@cache
def template(package: str, path: str) -> Template:
    """A template that lies beside the modules of a package, compiled once; filling in a name too few is an error.

    A line that holds nothing but a block of the template's own leaves no line in the page.
    """
    from jinja2 import Environment, StrictUndefined  # half a tenth of a second, for those who make a page

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(text_of(package, path))

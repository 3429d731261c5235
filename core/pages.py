"""HTML pages from templates. All that is filled in is escaped, except what a template itself calls `safe`."""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def text_of(package: str, path: str) -> str:
    """A file that lies beside the modules of a package; `path` is relative to it."""
    return (files(package) / path).read_text(encoding="utf-8")


@cache
def environment(package: str) -> Environment:
    """The templates of a package; what it adds to their `filters` all of them have."""
    from jinja2 import (
        Environment,
        FunctionLoader,
        StrictUndefined,
    )  # half a tenth of a second, for those who make a page

    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=FunctionLoader(partial(text_of, package)),
    )


def template(package: str, path: str) -> Template:
    """A template that lies beside the modules of a package, compiled once; filling in a name too few is an error.

    What it extends or includes is named as it is, by the path in the package. A line that holds nothing but a block of
    the template's own leaves no line in the page.
    """
    return environment(package).get_template(path)

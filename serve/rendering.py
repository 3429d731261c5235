"""Pages from the templates in `pages/templates`, with the headers that a page has, and the files that it loads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from dropscribe.admin.terminal import render
from dropscribe.core import pages
from dropscribe.core.clock import about, clock
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.safe_text import printable
from dropscribe.serve.callers import Caller

PACKAGE = "dropscribe.serve.pages"
PROGRAMS = ("/api/", "/v1/", "/asr", "/detect-language")  # beginnings of paths that never answer with a page
SIGN_IN = "/sign-in"
STATIC = "/static/"
# Scripts, styles, sound and questions to the server itself alone; no text becomes markup by a script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
# A browser tells where a form comes from only to those whom it may tell the address of the page.
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"}
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# What pages load, by name: the package that it lies in, and its place there.
ASSETS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "transcript.css": ("dropscribe.worker.outputs", "page/page.css"),  # the look of transcripts
        **{
            name: (PACKAGE, f"static/{name}")
            for name in ("page.css", "page.js", "live.js", "recordings.js", "recording.js", "fleet.js", "icon.svg")
        },
    }
)


def page(caller: Caller | None, template: str, *, place: str = "", status: int = 200, **values: Any) -> Response:
    """A page from a template, for a caller; None: somebody who is not known.

    Every template extends `base.html`. `place` is where the page stands in the navigation. Whatever is filled in is
    escaped.
    """
    filled = (
        _templates()
        .get_template(f"templates/{template}")
        .render(caller=caller, place=place, events=" ".join(EventKind), **values)
    )
    # Names of files may hold bytes that are not UTF-8, as surrogates.
    return HTMLResponse(filled.encode(errors="replace"), status, HEADERS)


@cache
def _templates() -> Environment:
    """The templates of pages, with what they write figures and names by."""
    found = pages.environment(PACKAGE)
    found.filters |= {
        "clock": clock,
        "about": about,
        "size": render.size,
        "duration": render.duration,
        "printable": printable,
    }
    return found


def is_page(asked: HTTPConnection) -> bool:
    """Does a browser ask for something to show to a person?"""
    return (
        asked.scope["method"] == "GET"
        and "text/html" in asked.headers.get("accept", "")
        and not asked.scope["path"].startswith(PROGRAMS)
    )


def is_visit(asked: HTTPConnection) -> bool:
    """Does a person go to a page in a window of its own, from wherever?"""
    said = asked.headers.get("sec-fetch-mode"), asked.headers.get("sec-fetch-dest")
    return is_page(asked) and said == ("navigate", "document")


def sign_in_address(asked: HTTPConnection) -> str:
    """The sign-in page, which then leads to the requested page."""
    wanted = asked.scope["path"] + (f"?{query}" if (query := asked.scope["query_string"].decode("latin-1")) else "")
    return f"{SIGN_IN}?next={quote(wanted, safe='')}"


def asset(name: str, known: str = "") -> Response:
    """A file that pages load; nothing where the browser has it already, as `known` tells. Raises KeyError."""
    content, tag = _asset(name)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if known == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=KINDS[name[name.rindex(".") :]])


@cache
def _asset(name: str) -> tuple[bytes, str]:
    """The bytes of a file, and a tag that changes with them."""
    content = pages.text_of(*ASSETS[name]).encode()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'

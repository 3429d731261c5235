"""The output formats: one small module each, Transcript -> text or bytes.

Pure: reads no store and only one file, the template of the page, and writes none; `worker.finishing.placement` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dropscribe.core.errors import UsageError
from dropscribe.core.types import Transcript
from dropscribe.worker.outputs import docx_, html_, json_, md, rttm, srt, tsv, txt, vtt

FORMATS: dict[str, Callable[[Transcript], str | bytes]] = {
    "json": json_.render,
    "txt": txt.render,
    "srt": srt.render,
    "vtt": vtt.render,
    "tsv": tsv.render,
    "html": html_.render,
    "md": md.render,
    "docx": docx_.render,
    "rttm": rttm.render,
}

# For browsers and other programs. No browser runs one from our server, as every response says so.
PLAIN = "text/plain; charset=utf-8"
MEDIA_TYPES = {
    "txt": PLAIN,
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "rttm": PLAIN,
}

# Those that a terminal or another program has to be kept from reading as text.
BINARY = frozenset({"docx"})

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def render(transcript: Transcript, fmt: str, folder: Path | None = None) -> bytes:
    """The content of the file `fmt` for this transcript; text as UTF-8.

    `folder` is where the file will lie, for the page, which plays the recording; beside it by default.
    Bytes of a file name that are not UTF-8 reach us as lone surrogates, which UTF-8 cannot hold; they are
    shown as U+FFFD. Raises UsageError for a format that does not exist.
    """
    if fmt not in FORMATS:
        raise UsageError(f"there is no output format {fmt!r}", remedy=f"choose from {', '.join(FORMATS)}")
    write = partial(html_.render, folder=folder) if fmt == "html" else FORMATS[fmt]
    content = write(transcript)
    return content if isinstance(content, bytes) else _LONE_SURROGATE.sub("\ufffd", content).encode()

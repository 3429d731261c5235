"""The output formats: one small module each, Transcript -> text; `files` alone touches the disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from core.errors import UsageError
from core.types import Transcript
from worker.outputs import html_, json_, srt, tsv, txt, vtt

FORMATS: dict[str, Callable[[Transcript], str]] = {
    "json": json_.render,
    "txt": txt.render,
    "srt": srt.render,
    "vtt": vtt.render,
    "tsv": tsv.render,
    "html": html_.render,
}

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def render(transcript: Transcript, fmt: str, folder: Path | None = None) -> bytes:
    """The content of the file `fmt` for this transcript, as UTF-8.

    `folder` is where the file will lie, for the page, which plays the recording; beside it unless told otherwise.
    Bytes of a file name that are not UTF-8 reach us as lone surrogates, which UTF-8 cannot hold; they are
    shown as U+FFFD. Raises UsageError for a format that does not exist.
    """
    if fmt not in FORMATS:
        raise UsageError(f"there is no output format {fmt!r}; choose from {', '.join(FORMATS)}")
    write = partial(html_.render, folder=folder) if fmt == "html" else FORMATS[fmt]
    return _LONE_SURROGATE.sub("\ufffd", write(transcript)).encode()

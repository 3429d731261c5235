"""The output formats: one small module each, Transcript -> str; `files` alone touches the disk."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.errors import UsageError
from core.types import Transcript
from worker.outputs import json_, srt, tsv, txt, vtt

FORMATS: dict[str, Callable[[Transcript], str]] = {
    "json": json_.render,
    "txt": txt.render,
    "srt": srt.render,
    "vtt": vtt.render,
    "tsv": tsv.render,
}

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def render(transcript: Transcript, fmt: str) -> bytes:
    """The content of the file `fmt` for this transcript, as UTF-8.

    Bytes of a file name that are not UTF-8 reach us as lone surrogates, which UTF-8 cannot hold; they are
    shown as U+FFFD. Raises UsageError for a format that does not exist.
    """
    if fmt not in FORMATS:
        raise UsageError(f"there is no output format {fmt!r}; choose from {', '.join(FORMATS)}")
    return _LONE_SURROGATE.sub("\ufffd", FORMATS[fmt](transcript)).encode()

"""Reads the project's documents: fenced blocks, what stands in backticks, which blocks a test may run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "deploy/*.md", "samples/**/*.md", "tests/tiny/*.md")
DOCUMENTS = sorted(path for pattern in PATTERNS for path in REPOSITORY.glob(pattern))

_FENCED = re.compile(
    r"(?P<needs><!-- needs: [^\n]* -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
_INLINE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `needs` says that the comment before it names something that not every machine has."""

    language: str
    body: str
    needs: bool


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [Block(found["language"], found["body"], bool(found["needs"])) for found in _FENCED.finditer(text)]


def inline(text: str) -> list[str]:
    """What stands in backticks outside of fenced blocks."""
    return _INLINE.findall(_FENCED.sub("", text))


def make_targets(text: str) -> list[str]:
    """The targets of `make TARGET` lines."""
    return re.findall(r"^make ([a-z]+)", text, re.MULTILINE)

"""Holds what people read to the words of docs/words.toml: `make lint`.

Reads the documents, the pages' templates, and the strings, docstrings and comments of the product. Names in backticks,
code and links are left alone, and so are the documents that list old names. Prints `file:line: word; write ...`.
"""

from __future__ import annotations

import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = ("*.md", "docs/**/*.md", "deploy/*.md", "samples/**/*.md")
CODE = ("core", "store", "scheduler", "worker", "models", "admin", "serve")
PAGES = ("serve/pages/**/*.html", "serve/pages/**/*.js", "worker/outputs/page/*.js", "worker/outputs/page/*.html")
OLD_NAMES = ("CHANGELOG.md", "docs/glossary.md", "docs/measurements.md")
# What is not a sentence: fenced blocks, names in backticks, examples, targets of links, tags, values in f-strings.
_NOT_PROSE = re.compile(r"^```.*?^```|`[^`]*`|>>> [^\n]*|\]\([^)]*\)|<[^<>]*>|\{[^{}]*\}", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """What not to write, as a pattern in which a space stands for any white space; and what to write instead."""

    pattern: re.Pattern[str]
    instead: str


def rules() -> list[Rule]:
    """The list, in its order. Raises ValueError for a pattern that is not one."""
    listed = tomllib.loads((REPOSITORY / "docs" / "words.toml").read_text(encoding="utf-8"))["rule"]
    return [
        Rule(re.compile(rf"\b(?:{one['not'].replace(' ', chr(92) + 's+')})\b", re.IGNORECASE), one["instead"])
        for one in listed
    ]


def found(text: str, listed: list[Rule]) -> Iterator[tuple[int, str, str]]:
    """Line (from 0), what stands there, what to write instead."""
    prose = _NOT_PROSE.sub(lambda part: re.sub(r"[^\n]", "_", part[0]), text)
    for rule in listed:
        for match in rule.pattern.finditer(prose):
            yield prose.count("\n", 0, match.start()), " ".join(match[0].split()), rule.instead


def texts() -> Iterator[tuple[Path, int, str]]:
    """Every text that people read: its file, the line at which it begins (from 1), and itself."""
    for pattern in (*DOCUMENTS, *PAGES):
        for path in sorted(REPOSITORY.glob(pattern)):
            if str(path.relative_to(REPOSITORY)) not in OLD_NAMES:
                yield path, 1, path.read_text(encoding="utf-8")
    for package in CODE:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            if "versions" not in path.parts:  # migrations are history
                with path.open("rb") as source:
                    for token in tokenize.tokenize(source.readline):
                        if token.type in _PROSE and " " in token.string:  # one word alone is a name
                            yield path, token.start[0], token.string


_PROSE = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def main() -> None:
    """Ends with status 1 if anything was found."""
    listed = rules()
    lines = [
        f"{path.relative_to(REPOSITORY)}:{start + line}: {words}; write {instead}"
        for path, start, text in texts()
        for line, words, instead in found(text, listed)
    ]
    if lines:
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    main()

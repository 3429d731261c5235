"""Words as the search index holds them, and what a person's query means. Pure, and the same for every database.

Neither database's own parser is used: they disagree about hyphens, numbers and other scripts. A word is a run of
letters, digits and marks, without case and accents; in scripts that are written without blanks each character is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter

MAX_WORD_LENGTH = 40  # characters of a word that count; PostgreSQL takes 2,046 bytes
MAX_WORDS = 5000  # words of one segment that are indexed; PostgreSQL takes 1 MB

# Letters that Unicode does not take apart, though people type them without.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "æ": "ae", "œ": "oe", "\u0131": "i"})
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'))
_TERM = re.compile(r'"(?P<phrase>[^"]*)"?(?P<star>\*?)|(?P<word>[^\s"]+)')


@dataclass(frozen=True, slots=True)
class SearchWord:
    """A word as it is indexed, and its place in the text."""

    key: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Term:
    """Words that stand side by side; with `prefix`, the last is only the beginning of one."""

    keys: tuple[str, ...]
    prefix: bool = False


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    """Of a word, an ideograph (a word of its own), or neither (empty).

    >>> _kind("a"), _kind("語"), _kind("!")
    ('word', 'ideograph', '')
    """
    category = unicodedata.category(character)
    if category[0] not in "LMN":
        return ""
    from dropscribe.core.scripts import is_syllabic  # most commands import this module and search for nothing

    return "ideograph" if category in {"Lo", "Lm"} and is_syllabic(character) else "word"


def words(text: str) -> Iterator[SearchWord]:
    """The words of a text, in order.

    >>> [word.key for word in words("Well, it's Monday!")]
    ['well', 'it', 's', 'monday']
    """
    for kind, group in groupby(enumerate(text), lambda pair: _kind(pair[1])):
        places = [at for at, _ in group]
        if kind == "word":
            yield from _word(text, places[0], places[-1] + 1)
        elif kind == "ideograph":
            for at in places:
                yield from _word(text, at, at + 1)


def _word(text: str, start: int, end: int) -> Iterator[SearchWord]:
    """A word with its key and its place; nothing where no letter is left of it."""
    if key := _folded(text[start:end]):
        yield SearchWord(key[:MAX_WORD_LENGTH], start, end)


def _folded(word: str) -> str:
    """Without case and accents; only ASCII letters, ASCII digits and characters outside of ASCII are left.

    >>> _folded("Café")
    'cafe'
    """
    if word.isascii():
        return word.lower()
    apart = unicodedata.normalize("NFKD", word).casefold().translate(_PLAIN)
    kept = (character for character in apart if not "\u0300" <= character <= "\u036f" and _kind(character))
    return unicodedata.normalize("NFC", "".join(kept))


def keys(text: str) -> list[str]:
    """The words of a text as they are indexed.

    >>> keys("Café CAFÉ")
    ['cafe', 'cafe']
    """
    return [word.key for word, _ in zip(words(text), range(MAX_WORDS), strict=False)]


def parse(query: str) -> tuple[Term, ...]:
    """What a query asks for: each term has to occur.

    Words in quotes stand side by side, as do the parts of `well-known`; `word*` is the beginning of a word. Nothing
    else has a meaning, so nothing that a person types is an error; without any word the result is empty.
    """
    found = map(_term, _TERM.finditer(query.translate(_QUOTES)))
    return tuple(term for term in found if term.keys)


def _term(match: re.Match[str]) -> Term:
    """A word or a phrase of a query, which may end with a star."""
    text = match["word"] if match["phrase"] is None else match["phrase"]
    return Term(tuple(keys(text)), prefix=bool(match["star"]) or text.endswith("*"))


def marks(text: str, terms: Sequence[Term]) -> list[tuple[int, int]]:
    """Where in the text the terms occur: start and end, in order, without overlap."""
    found = list(words(text))
    hits = sorted(
        (found[at].start, found[at + len(term.keys) - 1].end)
        for term in terms
        for at in range(len(found) - len(term.keys) + 1)
        if _stands(term, found[at : at + len(term.keys)])
    )
    apart: list[tuple[int, int]] = []
    for start, end in hits:
        if apart and start < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def _stands(term: Term, there: Sequence[SearchWord]) -> bool:
    """Is the term what stands there?"""
    *first, last = map(attrgetter("key"), there)
    *wanted, end = term.keys
    return first == wanted and (last.startswith(end) if term.prefix else last == end)


def fts5(terms: Sequence[Term]) -> str:
    """The terms as SQLite's FTS5 spells them. Words hold no quotes, so nothing in them is syntax."""
    return " AND ".join(f'"{" ".join(term.keys)}"{" *" if term.prefix else ""}' for term in terms)


def tsquery(terms: Sequence[Term]) -> str:
    """The same for PostgreSQL."""
    return " & ".join(map(_beside, terms))


def _beside(term: Term) -> str:
    """A phrase as PostgreSQL spells it: its words one beside the other."""
    return "(" + " <-> ".join(f"'{key}'" for key in term.keys) + (":*" if term.prefix else "") + ")"


def tsvector(found: Sequence[str]) -> str:
    """Words with their positions, as PostgreSQL spells them.

    >>> tsvector(["ada", "eniac"])
    "'ada':1 'eniac':2"
    """
    return " ".join(f"'{key}':{at}" for at, key in enumerate(found, 1))

"""Notices while an answer streams that the model repeats itself and will not stop.

Looks at what is said, not at the JSON around it. A unit is a word, or one character in scripts that put no spaces
between words. It is a loop when the same one to eight units come twelve times in a row, or the same one to eight
contents. People do repeat themselves ("no no no no", a chorus), but transcripts that were right had six at most,
collapsed ones hundreds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Hashable

from dropscribe.core.scripts import is_unspaced

REPEATS = 12  # twice what was seen in good transcripts, a thirtieth of the least seen in collapsed ones
MAX_GRAM = 8  # units
MAX_WORD = 64  # letters; beyond, each is a unit of its own, so that "aaaa..." is a loop too


class LoopDetector:
    """Takes what is said as it grows, a newline after each content. Eight comparisons a unit, whatever the length."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self.found = False
        self._word: list[str] = []
        self._content: list[str] = []
        self._units = _Runs()
        self._contents = _Runs()

    def feed(self, text: str) -> bool:
        """True as soon as there is a loop, and from then on. A word counts when it has ended."""
        for character in text:
            if self.found:
                break
            self._take(character)
        return self.found

    def _take(self, character: str) -> None:
        """Take in a character: it continues a word, ends it, or is one."""
        if character.isspace():
            self._end_word()
            if character == "\n":
                self._end_content()
        elif is_unspaced(character) or len(self._word) >= MAX_WORD:
            if is_unspaced(character):
                self._end_word()
            self._unit(character)
        else:
            self._word.append(character)

    def _end_word(self) -> None:
        """The word is over."""
        if self._word:
            word = "".join(self._word)
            self._word.clear()
            self._unit(_bare(word))

    def _unit(self, unit: str) -> None:
        """Take in a word, or a character of a script without spaces."""
        self._content.append(unit)
        self.found = self._units.add(unit) or self.found

    def _end_content(self) -> None:
        """A whole segment is over."""
        if self._content:
            self.found = self._contents.add(tuple(self._content)) or self.found
            self._content.clear()


_BARE = re.compile(r"[^\W_](?:.*[^\W_])?", re.DOTALL)  # from the first letter or digit to the last


def _bare(word: str) -> str:
    """Without case and the punctuation around it, unless that is all there is."""
    bare = _BARE.search(word)
    return bare[0].casefold() if bare else word


class _Runs:
    """Counts for each n how many items in a row equal the one n before: n-grams that follow on themselves."""

    def __init__(self) -> None:
        self._last: deque[Hashable] = deque(maxlen=MAX_GRAM)  # the newest first
        self._equal = [0] * MAX_GRAM

    def add(self, item: Hashable) -> bool:
        """Is this the end of the twelfth equal n-gram in a row?"""
        looping = False
        for index, before in enumerate(self._last):
            self._equal[index] = self._equal[index] + 1 if before == item else 0
            looping = looping or self._equal[index] >= (REPEATS - 1) * (index + 1)
        self._last.appendleft(item)
        return looping

"""Pure: what Unicode knows of scripts. Which ones put no spaces between words, and which characters are one letter.

Import it where it is used: `regex`, which knows the properties of characters, takes 30 ms to import.
"""

from __future__ import annotations

from functools import lru_cache

import regex

# Of scripts that put no spaces between words: letters that stand for a syllable or more, and letters of alphabets.
_SYLLABIC = r"[[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{Bopomofo}\p{Yi}\p{Tangut}\p{Nushu}]&&[\p{L}\p{Nl}]]"
_ALPHABETIC = r"[[\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}]&&[\p{L}\p{M}\p{N}]]"

SYLLABLE = regex.compile(rf"{_SYLLABIC}\p{{M}}*", regex.V1)
ALPHABETIC = regex.compile(_ALPHABETIC, regex.V1)
# A word; of a script that puts no spaces between them, each sign, as nothing tells where words end.
WORD_OR_SIGN = regex.compile(
    rf"{_SYLLABIC}\p{{M}}*|{_ALPHABETIC}"
    rf"|[\w--[{_SYLLABIC}{_ALPHABETIC}]]+(?:['\u2019][\w--[{_SYLLABIC}{_ALPHABETIC}]]+)*",
    regex.V1,
)
_GRAPHEME = regex.compile(r"\X")
_WIDE = regex.compile(r"[[\p{East_Asian_Width=W}\p{East_Asian_Width=F}]--\p{Hangul}]", regex.V1)
_INVISIBLE = regex.compile(
    r"[[\p{Default_Ignorable_Code_Point}\p{Z}\p{Cc}\p{Cf}\u2800]--\p{Prepended_Concatenation_Mark}]", regex.V1
)


@lru_cache(maxsize=4096)
def is_visible(character: str) -> bool:
    """Does it leave a mark where it stands alone? Blanks, joiners, fillers and selectors of variants do not.

    >>> is_visible("a"), is_visible(chr(0x200D))
    (True, False)
    """
    return _INVISIBLE.fullmatch(character) is None


@lru_cache(maxsize=4096)
def is_syllabic(character: str) -> bool:
    """Is it a letter that is a word of its own, as far as one can tell, such as a Chinese one?

    >>> is_syllabic("語"), is_syllabic("a")
    (True, False)
    """
    return SYLLABLE.fullmatch(character) is not None


@lru_cache(maxsize=4096)
def is_unspaced(character: str) -> bool:
    """Is it a letter of a script that puts no spaces between words?

    >>> is_unspaced("語"), is_unspaced("a")
    (True, False)
    """
    return is_syllabic(character) or ALPHABETIC.fullmatch(character) is not None


@lru_cache(maxsize=4096)
def is_set_solid(character: str) -> bool:
    """Is it set without a space before the next one: a wide letter or punctuation mark, except for Korean, has spaces?

    >>> is_set_solid("語"), is_set_solid("한")
    (True, False)
    """
    return _WIDE.fullmatch(character) is not None


def letters(text: str) -> list[str]:
    """What a reader takes for one letter each: a character with its accents, a flag, a family of emoji.

    >>> letters("né")
    ['n', 'é']
    """
    return _GRAPHEME.findall(text)

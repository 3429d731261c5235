"""Pure: file names as the database holds them, reversibly, and as Python shows them.

Python shows an undecodable byte 0xNN as the lone surrogate U+DCNN, which no database takes. A private-use plane holds
it instead: U+10DC80..U+10DCFF.
"""

from __future__ import annotations

import re

_SHIFT = 0x10DC00 - 0xDC00
_SURROGATE = re.compile("[\udc80-\udcff]")
_SHIFTED = re.compile("[\U0010dc80-\U0010dcff]")


def stored(name: str) -> str:
    """As the database holds it.

    >>> ascii(stored("a" + chr(0xDCFF)))
    "'a\\\\U0010dcff'"
    """
    return _SURROGATE.sub(lambda found: chr(ord(found[0]) + _SHIFT), name)


def shown(name: str) -> str:
    """As `os.fsdecode` gives it.

    >>> shown(stored("a" + chr(0xDCFF))) == "a" + chr(0xDCFF)
    True
    """
    return _SHIFTED.sub(lambda found: chr(ord(found[0]) - _SHIFT), name)

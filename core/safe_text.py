"""Text from outside, made fit for a terminal, a log line and a database."""

from __future__ import annotations

import re

# Control characters, line separators, turns of the writing direction, and bytes that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# ECMA-48: control sequences, then strings up to their terminator, then two-character escapes. A string's body stops at
# any other opener, so that hostile text costs linear time.
_TERMINAL_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)


def without_escapes(text: str) -> str:
    """The text without what a terminal would take for commands.

    >>> without_escapes(chr(27) + "[31mred" + chr(27) + "[0m")
    'red'
    """
    return _TERMINAL_ESCAPES.sub("", text)


def printable(text: str) -> str:
    r"""The text in one line, with what no terminal should obey escaped as in Python (`\x1b`).

    A byte of a file name that is not UTF-8 becomes U+FFFD, as it is shown everywhere.
    """
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    """A character as an escape, which no terminal obeys; a byte that is not text as U+FFFD.

    >>> len(_escaped(chr(27))), _escaped(chr(0xDCFF)) == chr(0xFFFD)
    (4, True)
    """
    return "\ufffd" if "\ud800" <= character <= "\udfff" else character.encode("unicode_escape").decode()

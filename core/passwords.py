"""Passwords are never shown: not in addresses, and not in what a driver says of one that it could not use.

An address is masked wherever it is shown. Besides, what settings hold of passwords is known here, and is struck from
every error and every line of a log, no matter who wrote it there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

HIDDEN = "***"
MIN_PIECE = 4  # characters; less of a password is found in any text
SIGNS = r"[@/:?#&%=]"  # where a parser may cut a password that was written without escapes

# Patterns are compiled, and modules imported, where something is to be hidden: every import of dropscribe runs this.
# user:password@, up to the last such sign; `password=` and its like, up to the end or to plain options, as it may hold
# any sign.
_PLAIN = "user(?:name)?|host|port|db(?:name)?|master|sentinel_username|ssl(?:mode|rootcert|cert|key|_[a-z_]+)"
_KEYS = "(?:ssl)?pass(?:word|wd)?|pwd|secret|token|api[-_]?key|key"
_NAME = rf"(?i){_PLAIN}|(?:.*_)?(?:{_KEYS})"
_LOGIN = r"(?s)(?:^|://)[^/:@\s]*:(?!//)(?P<secret>.*)@"
_PARAMETER = rf"(?is)(?<![a-z])(?:{_KEYS})\s*=(?P<secret>.*?)(?=(?:&(?:{_PLAIN})=[^&@#]*)*\Z)"

_known: dict[str, None] = {}  # what is struck out, longest first


def mask(address: str) -> str:
    """The address with its password, however it is written, replaced by `***`.

    >>> mask("postgresql://ada:secret@db.example/dropscribe")
    'postgresql://ada:***@db.example/dropscribe'
    """
    for start, end in reversed(list(_places(address))):
        address = f"{address[:start]}{HIDDEN}{address[end:]}"
    return address


def of_address(address: str) -> list[str]:
    """The passwords in an address, as they are written there.

    >>> of_address("redis://:secret@host/0")
    ['secret']
    """
    return [address[start:end] for start, end in _places(address)]


def _places(address: str) -> Iterator[tuple[int, int]]:
    """From where to where passwords stand, in order."""
    end, parameters = 0, re.compile(_PARAMETER)
    if login := re.search(_LOGIN, address):
        is_mixed = parameters.search(login["secret"])  # nobody can say where such a password ends
        end = len(address) if is_mixed else login.end("secret")
        yield login.start("secret"), end
    if parameter := parameters.search(address, end):
        yield parameter.span("secret")


def remember(password: str, shown: str = "") -> None:
    """Strike a password from now on, also in pieces, escaped, and in small letters, in which drivers write hosts.

    What is `shown` anyway, such as its user, is not struck.
    """
    import json
    from urllib.parse import quote, unquote

    written = {password, unquote(password)}
    pieces = written | {piece for one in written for piece in re.split(SIGNS, one) if not re.fullmatch(_NAME, piece)}
    pieces |= {*map(str.lower, pieces)}
    escaped = {form for one in pieces for form in (one, quote(one, safe=""), repr(one)[1:-1], json.dumps(one)[1:-1])}
    hidden = {one for one in escaped if len(one) >= MIN_PIECE and one not in f"dropscribe {shown}"}
    every = sorted({*_known, *hidden}, key=len, reverse=True)
    _known.clear()
    _known.update(dict.fromkeys(every))


def redact(text: str) -> str:
    """The text without any password that is known."""
    for password in _known:
        text = text.replace(password, HIDDEN)
    return text

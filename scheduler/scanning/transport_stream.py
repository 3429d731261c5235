"""Which files called `.ts` or `.mts` are MPEG transport streams: TypeScript has the same endings."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from dropscribe.core.safe_open import descriptor_of

PACKETS = 5  # so many in a row prove a stream: none shorter holds sound
LENGTHS = (188, 192, 204)  # bytes of a packet: as broadcast, with a time before it (cameras), with parity behind it
HEAD_BYTES = max(LENGTHS) * (PACKETS + 1)  # a recording may begin in the middle of a packet

# Every packet begins with the byte 0x47, which is the letter G.
_PACKETS = tuple(re.compile(rb"(?s:G.{%d}){%d}G" % (length - 1, PACKETS - 1)) for length in LENGTHS)


def is_transport_stream(head: bytes) -> bool:
    """True if the first HEAD_BYTES of a file hold packets of a transport stream.

    >>> is_transport_stream((b"G" + bytes(187)) * 6)
    True
    >>> is_transport_stream(b"export const Gain = 1;\\n" * 60)
    False
    """
    return any(packets.search(head) for packets in _PACKETS)


class _Verdict(NamedTuple):
    state: tuple[int, int]  # the size and the time of change that it was reached for
    is_stream: bool


class Heads:
    """What the heads of files said, so that each is read once and not in every scan."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._before: dict[str, _Verdict] = {}
        self._now: dict[str, _Verdict] = {}

    def begin(self) -> None:
        """A scan begins: what the last one did not meet is forgotten."""
        self._before, self._now = self._now, {}

    def is_stream(self, path: str, name: str, state: tuple[int, int]) -> bool:
        """True if the file at `path` is a stream, remembered by its `name`. Raises OSError if it cannot be read."""
        known = self._before.get(name)
        if known is None or known.state != state:
            known = _Verdict(state, is_transport_stream(read_head(path)))
        self._now[name] = known
        return known.is_stream


def read_head(path: str) -> bytes:
    """The first HEAD_BYTES of a file, through no link and waiting for nobody. Raises OSError."""
    with descriptor_of(path) as descriptor:
        return os.read(descriptor, HEAD_BYTES)

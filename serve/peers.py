"""Which user a connection on this machine comes from, by the kernel's own table of sockets (Linux).

A connection within the machine has two rows, one for each end. That of the other end tells the user who opened it.
"""

from __future__ import annotations

import socket
import sys
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = tuple[str, int]  # an IP address as text, and a port

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED = 1  # include/net/tcp_states.h
LOCAL, REMOTE, STATE, UID, INODE = 1, 2, 3, 7, 9  # columns
OVERFLOW = Path("/proc/sys/kernel/overflowuid")  # tells the number that stands for all users of other namespaces
NO_INODE = "0"  # of a socket that its process has closed: the kernel tells no user of it any more


def is_on_this_machine(address: str) -> bool:
    """Is it a loopback address?"""
    with suppress(ValueError):
        return ip_address(address).is_loopback
    return False


def uid_of(connection: socket.socket | TransportSocket) -> int | None:
    """The user at the other end of a connection within this machine; None if the kernel tells none."""
    with suppress(OSError):  # it is closed
        peer, here = connection.getpeername()[:2], connection.getsockname()[:2]
        found = _uid_at(peer, here) if is_on_this_machine(peer[0]) and is_on_this_machine(here[0]) else None
        # Anyone who closes an end lets others have its port, and its row is theirs then; our own end knows of it.
        return found if _is_established(connection) and found != int(OVERFLOW.read_text(encoding="ascii")) else None
    return None


def _is_established(connection: socket.socket | TransportSocket) -> bool:
    """Does the connection stand, with both ends open?"""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


def _uid_at(peer: Address, here: Address) -> int | None:
    """The user of the end at `peer` of a connection to `here`; None if the kernel tells none."""
    ends = [(_written(peer, mapped=mapped), _written(here, mapped=mapped)) for mapped in (False, True)]
    for row in _rows():
        if (row[LOCAL], row[REMOTE]) in ends and int(row[STATE], 16) == ESTABLISHED and row[INODE] != NO_INODE:
            return int(row[UID])
    return None


def _rows() -> Iterator[list[str]]:
    """The rows of the kernel's tables of connections."""
    for table in TABLES:
        if table.exists():  # a kernel may have no IPv6
            yield from map(str.split, table.read_text(encoding="ascii").splitlines()[1:])


def _written(address: Address, *, mapped: bool) -> str:
    """As the table has it: each 32 bits as a number of this machine. A program may have mapped IPv4 into IPv6.

    >>> _written(("127.0.0.1", 80), mapped=False) if sys.byteorder == "little" else "0100007F:0050"
    '0100007F:0050'
    """
    host, port = address
    packed = _mapped(ip_address(host), mapped=mapped).packed
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def _mapped(address: IPv4Address | IPv6Address, *, mapped: bool) -> IPv4Address | IPv6Address:
    """The address as a table of IPv6 has it."""
    return IPv6Address(f"::ffff:{address}") if mapped and address.version == 4 else address

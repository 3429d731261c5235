"""Who is at the other end of a connection within the machine."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dropscribe.serve import peers

RESET = struct.pack("ii", 1, 0)  # closing ends the connection at once, and its port is free


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def listener(stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def handed_over(stack: ExitStack, listener: socket.socket, first: socket.socket) -> socket.socket:
    """Close that end, and have another get its port; returns our end of the new connection."""
    port = first.getsockname()
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    first.close()
    stack.enter_context(socket.create_connection(listener.getsockname(), source_address=port))
    return stack.enter_context(listener.accept()[0])


def test_an_end_that_is_closed_has_no_user_though_another_has_its_port(
    stack: ExitStack, listener: socket.socket
) -> None:
    first = socket.create_connection(listener.getsockname())
    ours = stack.enter_context(listener.accept()[0])
    port = ours.getpeername()
    assert peers.uid_of(ours) == os.geteuid()
    anew = handed_over(stack, listener, first)
    assert anew.getpeername() == port
    assert peers.uid_of(anew) == os.geteuid()
    assert peers.uid_of(ours) is None


def test_nor_has_one_whose_port_changes_hands_just_before_the_kernel_is_asked(
    stack: ExitStack, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = socket.create_connection(listener.getsockname())
    ours = stack.enter_context(listener.accept()[0])
    rows = peers._rows

    def late() -> Iterator[list[str]]:
        handed_over(stack, listener, first)
        return rows()

    monkeypatch.setattr(peers, "_rows", late)
    assert peers.uid_of(ours) is None


def test_the_number_that_stands_for_all_users_of_other_namespaces_is_nobody(
    stack: ExitStack, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stack.enter_context(socket.create_connection(listener.getsockname()))
    ours = stack.enter_context(listener.accept()[0])
    assert peers.uid_of(ours) == os.geteuid()
    (tmp_path / "overflowuid").write_text(f"{os.geteuid()}\n")
    monkeypatch.setattr(peers, "OVERFLOW", tmp_path / "overflowuid")
    assert peers.uid_of(ours) is None

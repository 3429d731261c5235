"""What a signal orders is done, whatever it interrupts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import signals

from dropscribe.core.orders import Orders
from dropscribe.worker import service

PATIENCE = 60.0  # seconds; only a failing test waits so long


@contextmanager
def handled(handler: Callable[..., object]) -> Iterator[None]:
    """SIGTERM is handled so for the time of the block."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_may_interrupt_who_holds_the_lock_that_its_order_needs() -> None:
    lock, done = threading.Lock(), threading.Event()

    def obey(_: int) -> None:
        with lock:
            done.set()

    with Orders(obey) as orders, handled(orders.give):
        with lock:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not done.is_set()
        assert done.wait(PATIENCE)


def test_all_orders_are_done_one_after_the_other_by_the_end() -> None:
    done: list[int] = []
    with Orders(done.append) as orders:
        for number in range(100):
            orders.give(number)
    assert done == [*range(100)]


class Interrupted(str):
    """A worker's name at which a further SIGTERM comes while Celery tells its receivers of one, holding a lock."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not told:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__eq__(other)

    __hash__ = str.__hash__


told: list[str] = []


def test_a_worker_is_told_twice_to_stop_and_does_not_wait_for_itself() -> None:
    def shutting_down(sender: str, **_: object) -> None:
        told.append(sender)

    service.let_signals_nest()
    signals.worker_shutting_down.connect(shutting_down, sender="cpu")
    with handled(lambda *_: signals.worker_shutting_down.send(sender="cpu")):
        signals.worker_shutting_down.send(sender=Interrupted("cpu"))
    signals.worker_shutting_down.disconnect(shutting_down, sender="cpu")
    assert told == ["cpu", "cpu"]

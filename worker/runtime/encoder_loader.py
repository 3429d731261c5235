"""Loads the speaker encoder beside the work of a CPU worker: its weights may have to be fetched first."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dropscribe.core.errors import DropscribeError

if TYPE_CHECKING:
    from dropscribe.models.base import VoiceEncoder  # numpy comes with it

log = logging.getLogger(__name__)

DELAYS = (10.0, 30.0)  # s between tries: a network that is just coming up
AGAIN_SECONDS = 600.0  # after which it is tried again, so that a worker need not be started again


class EncoderLoader:
    """The encoder once it is there. Nobody waits for it: work that needs it stays in the store meanwhile."""

    def __init__(
        self, load: Callable[[], VoiceEncoder], ready: Callable[[], None], delays: tuple[float, ...] = DELAYS
    ) -> None:
        """`load` may raise DropscribeError; `ready` is called when it has returned, or failed for good."""
        self._load, self._ready, self._delays = load, ready, delays
        self._lock = threading.Lock()
        self._encoder: VoiceEncoder | None = None
        self._failure = ""
        self._loading = False
        self._failed_at = 0.0
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to load, unless it is there, under way, or failed a short while ago."""
        with self._lock:
            fresh = self._failure and time.monotonic() - self._failed_at < AGAIN_SECONDS
            if self._encoder or self._loading or fresh:
                return
            self._loading, self._failure = True, ""
        threading.Thread(target=self._run, name="speaker-encoder", daemon=True).start()

    def close(self) -> None:
        """No further try is made."""
        self._ended.set()

    @property
    def encoder(self) -> VoiceEncoder | None:
        """The encoder; None while it is not there."""
        return self._encoder

    @property
    def failure(self) -> str:
        """Why there is none; empty while that is not known."""
        return self._failure

    def _run(self) -> None:
        """Load the encoder, trying again after each delay; in the end, those who wait for it hear it."""
        for delay in (*self._delays, None):
            try:
                self._encoder = self._load()
                break
            except DropscribeError as error:
                log.warning("speakers cannot be distinguished yet: %s", error)
                if delay is None or self._ended.wait(delay):
                    self._failure, self._failed_at = str(error), time.monotonic()
                    break
        self._loading = False
        if not self._ended.is_set():
            self._ready()

"""A Transcriber without a model of its own: it asks the server of `openai.base_url`, at most `model_slots` at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelError, ModelUnavailableError, SettingsError
from dropscribe.core.settings import Settings, variable
from dropscribe.core.types import EngineInfo, FinishReason, RawTranscript
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.gpu.placement import ANYWHERE, Placement
from dropscribe.models.openai import requests
from dropscribe.models.openai.settings import OpenAISettings
from dropscribe.models.openai.spec import SPEC

log = logging.getLogger(__name__)

SLOTS = 4  # requests at once where the settings do not say
CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.2  # between two looks at whether it was cancelled
LONGEST_CHUNK = {"transcriptions": 600.0, "chat": 1800.0}  # s; the first by the size that servers accept
PRECISION = "served"  # the server's affair; what is transcribed by one server is transcribed by one model
QUOTED = 200  # characters of an error that are shown

_BASE_URL = variable("openai.base_url")
_KEY = variable("openai.api_key")

# What to do about an error of the server, by its class; the first that fits.
_REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, f"raise {variable('openai.timeout_seconds')}, or lower DROPSCRIBE_MODEL_SLOTS"),
    (openai.APIConnectionError, f"start the server, or correct {_BASE_URL}"),
    (openai.AuthenticationError, f"set {_KEY} or {_KEY}_FILE to a key that the server knows"),
    (openai.PermissionDeniedError, f"set {_KEY} or {_KEY}_FILE to a key that may use this model"),
    (openai.NotFoundError, f"correct DROPSCRIBE_MODEL or {_BASE_URL}, which mostly ends with /v1"),
    (openai.RateLimitError, "lower DROPSCRIBE_MODEL_SLOTS, or raise what the server allows"),
    (openai.InternalServerError, "see the server's log"),
    (openai.OpenAIError, f"see what the server takes ({variable('openai.response_format')}), and its log"),
    # What the client makes of an answer that does not follow this API: a page in HTML, say.
    (Exception, f"correct {_BASE_URL}, which mostly ends with /v1"),
)
FAULTS = (openai.OpenAIError, TimeoutError, AttributeError, TypeError, ValueError)

_Result = TypeVar("_Result")


class OpenAIServer:
    """A Transcriber; safe for as many threads as `info.slots`."""

    def __init__(self, client: AsyncOpenAI, info: EngineInfo, settings: Settings, loop: _Loop) -> None:
        """Serve what `client` reaches; its requests run in `loop`, where they can be abandoned."""
        self.info = info
        self._client = client
        self._settings = settings
        self._loop = loop
        self._ask = requests.PROTOCOLS[settings.of(OpenAISettings).protocol]

    @classmethod
    def load(cls, settings: Settings, _placement: Placement = ANYWHERE) -> OpenAIServer:
        """Ask the server for its models. Raises ModelUnavailableError when it cannot be used, and SettingsError."""
        began, own = time.monotonic(), settings.of(OpenAISettings)
        client = _client(own)
        loop = _Loop()
        try:
            model = _chosen(settings.model, loop.run(_listed(client, own.timeout_seconds)))
        except ModelUnavailableError:
            loop.end(client)
            raise
        notice = f"transcribed by {model} on {urlsplit(own.base_url).hostname}, a server that dropscribe does not check"
        info = EngineInfo(
            engine=SPEC.name,
            model=model,
            precision=PRECISION,
            slots=settings.model_slots or SLOTS,
            longest_chunk=LONGEST_CHUNK[own.protocol],
            load_seconds=round(time.monotonic() - began, 1),
            notice=notice,
        )
        log.info("%s answers at %s", model, urlsplit(own.base_url).hostname)
        return cls(client, info, settings, loop)

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """See `Transcriber`; a request that is cancelled is closed, so that the server can stop as well."""
        began = time.monotonic()
        if not audio.size:
            return RawTranscript(())
        asked = self._loop.start(self._answer(audio, request))
        while not concurrent.futures.wait([asked], POLL_SECONDS).done:
            if request.cancel.is_set():
                asked.cancel()
                return RawTranscript((), FinishReason.CANCELLED)
        try:
            answer = asked.result()
        except concurrent.futures.CancelledError as error:
            raise ModelError("the model was stopped", remedy="another worker asks for the chunk") from error
        except FAULTS as error:
            problem, remedy = _told(error)
            raise ModelError(problem, remedy=remedy) from error
        return replace(answer, timings={"openai": time.monotonic() - began})

    async def _answer(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """All requests that it takes: an answer that drips in, or is asked for again, has no longer than another."""
        async with asyncio.timeout(self._settings.of(OpenAISettings).timeout_seconds):
            return await self._ask(self._client, self.info.model, audio, request, self._settings)

    def close(self) -> None:
        """Break off what is asked for, and close the connections."""
        self._loop.end(self._client)


class _Loop:
    """An event loop on a thread of its own. What runs there can be cancelled, unlike a call that blocks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, _Result]) -> concurrent.futures.Future[_Result]:
        """Let the thread of the event loop run this."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """The result of a coroutine, which is waited for."""
        return self.start(work).result()

    def end(self, client: AsyncOpenAI) -> None:
        """Close the client, then the event loop and its thread."""
        self.run(_break_off())
        self.run(client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _break_off() -> None:
    """Cancel all requests, and wait until they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _client(own: OpenAISettings) -> AsyncOpenAI:
    """It repeats a request that failed by overload (408, 409, 429, 5xx) or connection, and waits longer each time.

    No redirect is followed: the recording goes to the server that is named, and to no other. Raises SettingsError for
    a key that cannot be sent.
    """
    key = (_read_key(own.api_key_file) if own.api_key_file else own.api_key).strip()
    if not key.isascii():
        raise SettingsError("the key of openai.api_key is not ASCII", remedy=f"correct {_KEY} or {_KEY}_FILE")
    return AsyncOpenAI(
        base_url=own.base_url,
        api_key=key or "none",  # where it is empty, OpenAI's own key would be taken from the environment
        timeout=openai.Timeout(None, connect=CONNECT_SECONDS),  # of the whole: `_answer`
        max_retries=own.retries,
        http_client=DefaultAsyncHttpxClient(follow_redirects=False),
    )


def _read_key(file: Path) -> str:
    """The key in a file. Raises SettingsError."""
    with explained(
        (OSError, UnicodeDecodeError), SettingsError, f"cannot read the key in {file}", remedy=f"correct {_KEY}_FILE"
    ):
        return file.expanduser().read_text(encoding="utf-8")


async def _listed(client: AsyncOpenAI, seconds: float) -> list[str]:
    """The models that the server has, as far as it says so."""
    try:
        async with asyncio.timeout(seconds):
            return [model.id async for model in client.models.list()]
    except openai.NotFoundError:  # whisper.cpp's server lists none
        return []
    except FAULTS as error:
        problem, remedy = _told(error)
        raise ModelUnavailableError(problem, remedy=remedy) from error


def _chosen(wanted: str, listed: Sequence[str]) -> str:
    """The model to ask for: the wanted one, or the only one that the server has.

    >>> _chosen("", ["whisper-1"])
    'whisper-1'
    """
    offered = ", ".join(listed) or "none"
    if not wanted and len(listed) != 1:
        raise ModelUnavailableError(
            f"it is not clear which model to ask the server for; it lists {offered}",
            remedy="name one by DROPSCRIBE_MODEL",
        )
    if wanted not in {"", *listed}:
        log.warning("the server does not list the model %s; it lists %s", wanted, offered)
    return wanted or listed[0]


def _told(error: Exception) -> tuple[str, str]:
    """What the server or the connection says, and what to do about it."""
    remedy = next(remedy for kind, remedy in _REMEDIES if isinstance(error, kind))
    said = " ".join(str(error).split())[:QUOTED] or "it did not answer in time"
    return f"the server of openai.base_url did not transcribe: {said}", remedy

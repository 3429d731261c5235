"""One chunk as a request to the server, by either of two protocols, and its answer as a transcript."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import soundfile
from openai import AsyncOpenAI, omit
from openai.types.chat import ChatCompletionChunk

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.hotwords import context_text
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, RawTranscript
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.openai import answers
from dropscribe.models.openai.settings import OpenAISettings
from dropscribe.models.resampling import resample
from dropscribe.models.vibevoice import prompt
from dropscribe.models.vibevoice.loops import LoopDetector
from dropscribe.models.vibevoice.parsing import StreamParser

TRANSCRIPTION_RATE = 16_000  # Hz; what the models behind this API listen to

Ask = Callable[[AsyncOpenAI, str, Audio, TranscribeRequest, Settings], Coroutine[Any, Any, RawTranscript]]


async def transcription(
    client: AsyncOpenAI, model: str, audio: Audio, request: TranscribeRequest, settings: Settings
) -> RawTranscript:
    """Ask `/audio/transcriptions`; the context goes along as the prompt. `audio` is (samples,) at 24 kHz.

    Raises OpenAIError, and ModelError for an answer that cannot be read.
    """
    kind = settings.of(OpenAISettings).response_format
    answer = await client.audio.transcriptions.with_raw_response.create(
        file=("chunk.flac", _flac(resample(audio, TRANSCRIPTION_RATE), TRANSCRIPTION_RATE), "audio/flac"),
        model=model,
        response_format=kind,
        temperature=settings.temperature,
        timestamp_granularities=["segment", "word"] if kind == "verbose_json" else omit,
        language=request.language or omit,
        prompt=context_text(request.context) or omit,
    )
    return answers.read(answer.text, audio.size / SAMPLE_RATE)


async def chat(
    client: AsyncOpenAI, model: str, audio: Audio, request: TranscribeRequest, settings: Settings
) -> RawTranscript:
    """Ask `/chat/completions` in VibeVoice-ASR's words and read its JSON while it streams. `audio` as above.

    The answer is abandoned as soon as the model repeats itself without an end. Raises OpenAIError.
    """
    reading = _Reading()
    stream: Any = await client.chat.completions.create(
        model=model,
        messages=_messages(audio, request),
        max_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=_penalty(settings.repetition_penalty),
    )
    async with stream:
        async for event in stream:
            reading.take(event)
            request.progress(min(reading.parser.last_end, audio.size / SAMPLE_RATE))
            if reading.loops.found:
                break
    return reading.transcript(settings.max_new_tokens)


@dataclass
class _Reading:
    """What has come of an answer so far; tokens are counted by the server, at the end."""

    parser: StreamParser = field(default_factory=StreamParser)
    loops: LoopDetector = field(default_factory=LoopDetector)
    prompt_tokens: int = 0
    output_tokens: int = 0

    def take(self, event: ChatCompletionChunk) -> None:
        """Take in the next piece of the stream."""
        self.parser.feed("".join(choice.delta.content or "" for choice in event.choices))
        self.loops.feed(self.parser.take_content())
        if event.usage:
            self.prompt_tokens, self.output_tokens = event.usage.prompt_tokens, event.usage.completion_tokens

    def transcript(self, budget: int) -> RawTranscript:
        """What was transcribed, once the stream has ended; `budget` is max_new_tokens."""
        parsed = self.parser.finish()
        ended = FinishReason.COMPLETE if parsed.complete else FinishReason.TRUNCATED
        return RawTranscript(
            parsed.segments,
            FinishReason.LOOP if self.loops.found else ended,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            budget=budget,
        )


PROTOCOLS: dict[str, Ask] = {"transcriptions": transcription, "chat": chat}


def _messages(audio: Audio, request: TranscribeRequest) -> Any:
    """The system's words, then the audio as a data URL and the request; vLLM's `audio_url` is not in OpenAI's types."""
    sound = base64.b64encode(_flac(audio, SAMPLE_RATE)).decode()
    words = prompt.request(audio.size / SAMPLE_RATE, context_text(request.context))
    asked = [
        {"type": "audio_url", "audio_url": {"url": f"data:audio/flac;base64,{sound}"}},
        {"type": "text", "text": words},
    ]
    return [{"role": "system", "content": prompt.SYSTEM}, {"role": "user", "content": asked}]


def _penalty(repetition_penalty: float) -> dict[str, float]:
    """vLLM's own field, which stricter servers refuse: sent where it is set.

    >>> _penalty(1.0), _penalty(1.1)
    ({}, {'repetition_penalty': 1.1})
    """
    return {"repetition_penalty": repetition_penalty} if repetition_penalty != 1 else {}


def _flac(audio: Audio, rate: int) -> bytes:
    """16 bits, without loss: half the bytes of WAV, far below the 25 MB that OpenAI's own server accepts."""
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()

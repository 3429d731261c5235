"""The engine openai against a local server that speaks both protocols."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dropscribe.core import settings_loading
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelError, ModelUnavailableError, SettingsError
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, Segment
from dropscribe.models import registry
from dropscribe.models.base import Transcriber, TranscribeRequest
from dropscribe.models.openai.settings import OpenAISettings
from tests.e2e.harness import wait_until
from tests.openai_server import Server, serving

SECOND = np.full(SAMPLE_RATE, 0.25, np.float32)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        yield served


class Engines:
    """Engines on one server, which are closed at the end."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.opened: list[Transcriber] = []

    def __call__(self, *, general: dict[str, Any] | None = None, **own: Any) -> Transcriber:
        settings = Settings(**(general or {})).having(OpenAISettings(base_url=self.server.url, retries=2, **own))
        self.opened.append(registry.create("openai", settings))
        return self.opened[-1]


@pytest.fixture
def engine(server: Server) -> Iterator[Engines]:
    engines = Engines(server)
    yield engines
    for opened in engines.opened:
        opened.close()


def test_a_chunk_is_sent_as_16_khz_flac_with_the_context_and_the_language(server: Server, engine: Engines) -> None:
    request = TranscribeRequest(context="Ada Lovelace", language="en")
    answer = engine().transcribe(SECOND, request)
    (sent,) = server.got
    assert sent.path == "/v1/audio/transcriptions"
    assert (sent.sound.format, sent.sound.samplerate, sent.sound.frames) == ("FLAC", 16_000, 16_000)
    assert (sent.fields["prompt"], sent.fields["language"]) == ("Ada Lovelace", "en")
    assert sent.fields["timestamp_granularities[]"] == ["segment", "word"]
    assert answer.segments == (Segment(0.0, 1.0, "hello"),)


def test_bare_text_and_speakers_can_be_asked_for(server: Server, engine: Engines) -> None:
    for kind in ("json", "diarized_json"):
        engine(response_format=kind).transcribe(SECOND, TranscribeRequest())
    assert [sent.fields["response_format"] for sent in server.got] == ["json", "diarized_json"]
    assert not any("timestamp_granularities[]" in sent.fields for sent in server.got)


def test_the_key_comes_from_the_settings_or_a_file_and_never_from_elsewhere(
    server: Server, engine: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-another-program")
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    for own in ({"api_key": "given"}, {"api_key_file": file}, {}):
        engine(**own).transcribe(SECOND, TranscribeRequest())
    assert [sent.headers["authorization"] for sent in server.got] == [
        "Bearer given",
        "Bearer from-a-file",
        "Bearer none",
    ]


def test_a_key_file_that_is_missing_is_named(server: Server, engine: Engines, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read the key in .*/none"):
        engine(api_key_file=tmp_path / "none")


def test_the_only_model_of_a_server_needs_no_name(server: Server, engine: Engines) -> None:
    assert engine().info.model == "whisper-1"


@pytest.mark.parametrize(("models", "said"), [(["a", "b"], "lists a, b"), (None, "lists none")])
def test_of_several_models_one_has_to_be_named(
    server: Server, engine: Engines, models: list[str] | None, said: str
) -> None:
    server.models = models
    with pytest.raises(ModelUnavailableError, match=said):
        engine()
    assert engine(general={"model": "b"}).info.model == "b"


def test_there_is_no_server_by_default() -> None:
    with pytest.raises(ModelUnavailableError, match="does not know which server to ask"):
        registry.choose(Settings(engine="openai"))


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://host/v1"])
def test_what_is_no_address_is_refused_when_the_settings_are_read(url: str) -> None:
    with pytest.raises(SettingsError, match=r"DROPSCRIBE_OPENAI_BASE_URL.*address of a server"):
        settings_loading.load(environ={"DROPSCRIBE_OPENAI_BASE_URL": url})


def test_a_server_that_is_away_is_named_with_what_to_do(server: Server) -> None:
    away = OpenAISettings(base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelUnavailableError, match="start the server, or correct DROPSCRIBE_OPENAI_BASE_URL"):
        registry.create("openai", Settings().having(away))


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_overload_is_asked_again(server: Server, engine: Engines, status: int) -> None:
    server.statuses = [status]
    assert engine().transcribe(SECOND, TranscribeRequest()).segments
    assert len(server.got) == 2


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(400, "RESPONSE_FORMAT"), (401, "API_KEY"), (403, "may use this model"), (404, "ends with /v1")],
)
def test_a_refusal_is_not_asked_again_and_says_what_to_do(
    server: Server, engine: Engines, status: int, remedy: str
) -> None:
    server.statuses = [status]
    with pytest.raises(ModelError, match=remedy) as raised:
        engine().transcribe(SECOND, TranscribeRequest())
    assert "so it is" in str(raised.value)
    assert len(server.got) == 1


def test_a_recording_is_not_sent_on_to_where_a_server_redirects(server: Server, engine: Engines) -> None:
    server.statuses = [307]
    with pytest.raises(ModelError, match="307"):
        engine().transcribe(SECOND, TranscribeRequest())


def test_a_cancelled_chunk_comes_back_while_the_server_is_silent_and_closes_its_request(
    server: Server, engine: Engines
) -> None:
    server.open.clear()
    cancel, served = threading.Event(), engine()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(served.transcribe, SECOND, TranscribeRequest(cancel=cancel))
        wait_until("it is asked", lambda: server.at_once == 1)
        cancel.set()
        assert asked.result().ended is FinishReason.CANCELLED
    wait_until("its request is closed", server.is_left)


def test_a_server_that_does_not_answer_in_time_is_asked_once(server: Server, engine: Engines) -> None:
    server.open.clear()
    with pytest.raises(ModelError, match="did not answer in time; raise DROPSCRIBE_OPENAI_TIMEOUT_SECONDS"):
        engine(timeout_seconds=0.3).transcribe(SECOND, TranscribeRequest())
    assert len(server.got) == 1


def test_a_chunk_that_is_asked_for_when_the_model_is_stopped_fails(server: Server) -> None:
    settings = Settings().having(OpenAISettings(base_url=server.url))
    served = registry.create("openai", settings)
    server.open.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(served.transcribe, SECOND, TranscribeRequest())
        wait_until("it is asked", lambda: server.at_once == 1)
        served.close()
        with pytest.raises(ModelError, match="the model was stopped"):
            asked.result()


def test_an_address_that_answers_with_a_page_is_told_from_an_api(server: Server) -> None:
    server.page = "<html>welcome</html>"
    with pytest.raises(ModelUnavailableError, match="mostly ends with /v1"):
        registry.create("openai", Settings().having(OpenAISettings(base_url=server.url)))


def test_a_key_that_cannot_be_sent_is_refused(server: Server) -> None:
    with pytest.raises(SettingsError, match="not ASCII"):
        registry.create("openai", Settings().having(OpenAISettings(base_url=server.url, api_key="schlüssel")))


def test_as_many_chunks_as_slots_are_asked_for_at_once(server: Server, engine: Engines) -> None:
    served = engine(general={"model_slots": 3})
    server.open.clear()
    with ThreadPoolExecutor(served.info.slots) as pool:
        asked = [pool.submit(served.transcribe, SECOND, TranscribeRequest()) for _ in range(3)]
        wait_until("all are asked", lambda: server.at_once == 3)
        server.open.set()
        assert all(one.result().segments for one in asked)


def test_vibevoice_on_vllm_is_asked_in_its_own_words_and_read_while_it_streams(server: Server, engine: Engines) -> None:
    server.pieces = [
        '[{"Start":0.0,"End":0.4,"Spea',
        'ker":1,"Content":"Good day."},',
        '{"Start":0.4,"End":1.0,"Speaker":0,"Content":"Bye."}]',
    ]
    read: list[float] = []
    request = TranscribeRequest(context="Ada", progress=read.append)
    answer = engine(protocol="chat").transcribe(SECOND, request)
    (sent,) = server.got
    system, user = sent.fields["messages"]
    sound = user["content"][0]["audio_url"]["url"].removeprefix("data:audio/flac;base64,")
    assert soundfile.info(io.BytesIO(base64.b64decode(sound))).frames == SAMPLE_RATE
    assert user["content"][1]["text"].startswith("This is a 1.00 seconds audio, with extra info: Ada")
    assert "JSON" in system["content"]
    assert answer.segments == (Segment(0.0, 0.4, "Good day.", 1), Segment(0.4, 1.0, "Bye.", 0))
    assert (answer.ended, answer.output_tokens, read[-1]) == (FinishReason.COMPLETE, 40, 1.0)


def test_an_answer_that_breaks_off_or_goes_round_in_circles_is_not_taken_for_complete(
    server: Server, engine: Engines
) -> None:
    chat = engine(protocol="chat")
    server.pieces = ['[{"Start":0.0,"End":0.4,"Speaker":1,"Content":"Good day."},']
    assert chat.transcribe(SECOND, TranscribeRequest()).ended is FinishReason.TRUNCATED
    server.pieces = ['[{"Start":0.0,"End":1.0,"Speaker":1,"Content":"', *["no "] * 10_000]
    assert chat.transcribe(SECOND, TranscribeRequest()).ended is FinishReason.LOOP


def test_a_digest_from_before_this_engine_stays_what_it_is() -> None:
    plain = Settings()
    assert plain.having(OpenAISettings()).digest() == plain.digest()
    assert plain.having(OpenAISettings(base_url="http://a/v1")).digest() != plain.digest()

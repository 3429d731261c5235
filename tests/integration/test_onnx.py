"""ONNX exports of the trained tiny checkpoint: they hear, answer and transcribe as PyTorch does."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelError, ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason
from dropscribe.models import registry
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.onnx import layout
from dropscribe.models.onnx.layout import Manifest
from dropscribe.models.onnx.runtime import Decoder, SpeechEncoder
from dropscribe.models.onnx.transcriber import Onnx
from dropscribe.models.vibevoice.base import VibeVoiceBase
from dropscribe.models.vibevoice.generation import CancelledError, Generation
from dropscribe.models.vibevoice.settings import VibeVoiceSettings
from dropscribe.models.vibevoice.transcriber import VibeVoice
from tests import web_runtime

TINY = Path(__file__).parents[1] / "tiny"
CHECKPOINT = TINY / "checkpoint"
RECORDINGS = [soundfile.read(path, dtype="float32")[0] for path in sorted((TINY / "recordings").glob("*.flac"))]
PARAMETERS = 3_453_316  # of the checkpoint
SAMPLE = TINY.parents[1] / "samples" / "browser" / "index.html"
PATIENCE = 300.0  # s that a browser may take
NEVER = threading.Event()
ONE_AT_A_TIME = {"vibevoice": VibeVoiceSettings(batching=False)}

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.timeout(900),  # tracing is slow on a busy machine
]

Exported = Callable[[str], Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, traced_once: None) -> Exported:
    """Exports the checkpoint as the command does, each number format once."""

    @functools.cache
    def export(dtype: str) -> Path:
        folder = tmp_path_factory.mktemp("onnx") / dtype
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
            code = main(["models", "export", str(CHECKPOINT), str(folder), "--dtype", dtype, "--json"], Context())
        assert code == 0
        document = json.loads(told.getvalue())
        assert (document["dtype"], document["folder"]) == (dtype, str(folder))
        assert (document["checked"], document["not_run"]) == (True, ""), "it was loaded as a worker does, and ran"
        return folder

    return export


@pytest.fixture(scope="module")
def reference() -> Iterator[VibeVoice]:
    model = open_model("vibevoice", CHECKPOINT, own=ONE_AT_A_TIME, precision="fp32")
    assert isinstance(model, VibeVoice)
    yield model
    model.close()


@pytest.fixture(scope="module")
def model(exported: Exported) -> Iterator[Onnx]:
    served = open_model("onnx", exported("fp32"))
    assert isinstance(served, Onnx)
    yield served
    served.close()


def open_model(engine: str, source: Path, **settings: Any) -> VibeVoiceBase:
    chosen = {"engine": engine, "model": str(source), "chunk_seconds": 60} | settings
    found = registry.create(engine, Settings(**chosen))
    assert isinstance(found, VibeVoiceBase)
    return found


def answer(model: VibeVoiceBase, audio: Audio) -> Generation:
    return model.proceed(model.embed(model.prompt(audio, ""), model.encode(audio, NEVER)), 400, lambda _: True, NEVER)


@pytest.mark.parametrize("audio", RECORDINGS)
def test_transcripts_are_those_of_pytorch_token_for_token(model: Onnx, reference: VibeVoice, audio: Audio) -> None:
    expected, found = answer(reference, audio), answer(model, audio)
    assert (found.tokens, found.stop) == (expected.tokens, expected.stop)
    assert len(found.tokens) > 40
    result = model.transcribe(audio, TranscribeRequest())
    assert result.segments == reference.transcribe(audio, TranscribeRequest()).segments
    assert (result.ended, len(result.segments)) == (FinishReason.COMPLETE, 3)


@pytest.mark.parametrize("context", ["", "Ada Lovelace, Charles Babbage; about {context}"])
@pytest.mark.parametrize("seconds", [0.1, 3.456])
def test_the_prompt_is_that_of_the_processor(model: Onnx, reference: VibeVoice, context: str, seconds: float) -> None:
    audio = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    processor = reference.loaded.processor
    inputs = processor.apply_transcription_request(audio, prompt=context or None)
    place = processor.audio_token_id
    prompt = model._wording.insert(model.prompt(audio, context), [place] * -(-audio.size // 3200))
    assert prompt == inputs["input_ids"][0].tolist()


@pytest.mark.parametrize("piece", [60.0, 1.0, 0.1])  # the last is one token, shorter than the convolutions' memory
def test_the_encoder_hears_the_same_in_pieces_of_any_length(
    exported: Exported, reference: VibeVoice, piece: float
) -> None:
    folder = exported("fp32")
    found = SpeechEncoder(folder, layout.read(folder), piece).encode(RECORDINGS[0], NEVER)
    np.testing.assert_allclose(found, reference.features(RECORDINGS[0]), atol=2e-4)


def test_reading_ahead_piece_by_piece_and_step_by_step_comes_to_the_same(model: Onnx, reference: VibeVoice) -> None:
    audio = RECORDINGS[1]
    words, features = reference.prompt(audio, ""), reference.features(audio)
    tokens = answer(reference, audio).tokens
    expected = reference.score(words, features, tokens)
    np.testing.assert_allclose(model.score(words, features, tokens), expected, atol=2e-3)
    decoder, cache = model._decoder, model._decoder.empty()
    speech, prompt = decoder.place(features), model.embed(words, features).ids
    logits = [decoder._prefill(prompt, speech, cache, NEVER)]
    logits += [decoder.read([token], speech, cache, [0])[0] for token in tokens[:-1]]
    np.testing.assert_allclose(np.stack(logits), expected, atol=2e-3)
    assert cache.length == len(prompt) + len(tokens) - 1


def test_padding_on_the_left_changes_nothing(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported("fp32") / layout.DECODER)
    generator = np.random.default_rng(0)
    long, short = (generator.integers(0, 500, size) for size in (9, 5))
    alone = run(session, [short], [0])
    both = run(session, [long, np.pad(short, (4, 0))], [0, 4])
    np.testing.assert_allclose(both[0][1], alone[0][0], atol=1e-4)
    np.testing.assert_allclose(both[1][1][:, 4:], alone[1][0], atol=1e-4)  # keys of the first layer


def run(session: onnxruntime.InferenceSession, rows: list[np.ndarray], padding: list[int]) -> list[np.ndarray]:
    length = len(rows[0])
    mask = np.array([[0] * pad + [1] * (length - pad) for pad in padding])
    inputs = {
        "input_ids": np.stack(rows),
        "speech": np.zeros((1, 128), np.float32),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clip(0),
        "keep": np.array([length - 1]),
    }
    past = {port.name: np.zeros((len(rows), 2, 0, 32), np.float32) for port in session.get_inputs()[5:]}
    return session.run(None, inputs | past)


def test_weights_are_stored_once_beside_the_graphs_and_listed_with_their_hashes(exported: Exported) -> None:
    folder = exported("fp32")
    manifest = layout.read(folder)
    assert {path.name for path in folder.iterdir()} == {*manifest.files, layout.MANIFEST}
    assert layout.problems(folder, manifest) == []
    assert {name: layout.digest(folder / name) for name in manifest.files} == {
        name: file.sha256 for name, file in manifest.files.items()
    }
    assert 4 * PARAMETERS < manifest.weights < 1.1 * 4 * PARAMETERS
    assert all(manifest.files[name].size < 2_000_000 for name in (layout.ENCODER, layout.DECODER))
    for name, graph in manifest.graphs.items():
        session = onnxruntime.InferenceSession(folder / graph.file)
        assert [port.name for port in graph.inputs] == [port.name for port in session.get_inputs()], name
        assert [port.name for port in graph.outputs] == [port.name for port in session.get_outputs()], name


def test_fp16_takes_half_the_room_and_transcribes_on_a_cpu_as_fp32_does(exported: Exported, model: Onnx) -> None:
    sizes = {dtype: weights(layout.read(exported(dtype)), layout.DECODER) for dtype in ("fp16", "fp32")}
    assert sizes["fp16"] < 0.52 * sizes["fp32"]
    half = open_model("onnx", exported("fp16"))
    assert half.info.precision == "fp16"
    for audio in RECORDINGS:
        expected = model.transcribe(audio, TranscribeRequest()).segments
        assert half.transcribe(audio, TranscribeRequest()).segments == expected
    half.close()


def weights(manifest: Manifest, graph: str) -> int:
    return manifest.files[graph + layout.DATA_SUFFIX].size


def test_an_answer_tells_its_numbers_and_its_progress(model: Onnx) -> None:
    progress: list[float] = []
    result = model.transcribe(RECORDINGS[0], TranscribeRequest(progress=progress.append))
    assert progress == sorted(progress)
    assert result.prompt_tokens == len(model.prompt(RECORDINGS[0], "")) - 1 + -(-RECORDINGS[0].size // 3200)
    assert set(result.timings) == {"encoder", "prefill", "decode"}
    assert model.info.engine == "onnx"
    assert (model.info.slots, model.info.longest_chunk) == (1, 60.0)


def test_a_budget_cuts_the_answer_off(exported: Exported) -> None:
    short = open_model("onnx", exported("fp32"), max_new_tokens=30)
    result = short.transcribe(RECORDINGS[0], TranscribeRequest())
    short.close()
    assert (result.ended, result.output_tokens) == (FinishReason.TRUNCATED, 30)


def test_a_request_may_be_cancelled_before_and_while_it_is_answered(model: Onnx) -> None:
    request = TranscribeRequest(progress=lambda _: request.cancel.set())
    result = model.transcribe(RECORDINGS[0], request)
    assert (result.ended, len(result.segments)) == (FinishReason.CANCELLED, 1)
    assert model.transcribe(RECORDINGS[0], request).ended is FinishReason.CANCELLED
    with pytest.raises(CancelledError):
        model.encode(RECORDINGS[0], request.cancel)


def test_audio_longer_than_planned_is_refused(model: Onnx) -> None:
    with pytest.raises(ModelError, match=r"70\.0 s .* at most 60 s .*DROPSCRIBE_CHUNK_SECONDS"):
        model.transcribe(np.zeros(70 * SAMPLE_RATE, np.float32), TranscribeRequest())


SERVED = """
import sys
import soundfile
from dropscribe.core.settings import Settings
from dropscribe.models import registry
from dropscribe.models.base import TranscribeRequest
model = registry.create("onnx", Settings(engine="onnx", model=sys.argv[1], chunk_seconds=60))
print(len(model.transcribe(soundfile.read(sys.argv[2], dtype="float32")[0], TranscribeRequest()).segments))
print(sorted({"torch", "transformers", "onnx"} & set(sys.modules)))
"""


def test_an_export_is_served_without_pytorch(exported: Exported) -> None:
    recording = min((TINY / "recordings").glob("*.flac"))
    command = [sys.executable, "-c", SERVED, str(exported("fp32")), str(recording)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.stdout.split("\n")[:2] == ["3", "[]"], ended.stderr


def test_what_is_no_export_or_not_whole_or_of_another_precision_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="is not an ONNX export; write one: dropscribe models export"):
        open_model("onnx", CHECKPOINT)
    with pytest.raises(ModelUnavailableError, match="comes in fp32, not in bf16; set DROPSCRIBE_PRECISION=auto"):
        open_model("onnx", exported("fp32"), precision="bf16")
    for path in exported("fp32").iterdir():
        if path.name != layout.DECODER:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(ModelUnavailableError, match=r"is not whole: decoder\.onnx is not there"):
        open_model("onnx", tmp_path)
    (tmp_path / layout.DECODER).write_bytes(b"?" * layout.read(tmp_path).files[layout.DECODER].size)
    with pytest.raises(ModelUnavailableError, match=r"cannot load .*decoder\.onnx: .*; export it again"):
        open_model("onnx", tmp_path)


def test_a_decoder_answers_many_threads_each_with_a_cache_of_its_own(model: Onnx) -> None:
    assert isinstance(model._decoder, Decoder)
    one, other = model._decoder.empty(), model._decoder.empty()
    speech = model._decoder.place(np.zeros((1, 128), np.float32))
    first = model._decoder.read([1, 2, 3], speech, one, [2])
    model._decoder.read([9, 8], speech, other, [1])
    again = model._decoder.empty()
    model._decoder.read([1], speech, again, [0])
    np.testing.assert_allclose(model._decoder.read([2, 3], speech, again, [1]), first, atol=1e-4)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the sample page is served with ONNX Runtime Web beside it, without a network."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(SAMPLE, folder)
    web_runtime.unpack(folder)
    with web_runtime.served(folder) as address:
        yield f"{address}/{SAMPLE.name}?runtime=/"


@pytest.fixture
def page(browser: Chrome, site: str) -> Chrome:
    """The page, just opened."""
    browser.get(site)
    return browser


def transcribe(page: Chrome, *files: Path) -> tuple[str, list[list[str]]]:
    """What the page says in the end, and its rows."""
    page.find_element(By.ID, "model").send_keys("\n".join(map(str, files)))
    page.find_element(By.ID, "recording").send_keys(str(TINY / "recordings" / "turns0.flac"))
    page.find_element(By.ID, "start").click()
    start = page.find_element(By.ID, "start")
    WebDriverWait(page, PATIENCE).until(lambda _: start.is_enabled())
    rows = page.find_elements(By.CSS_SELECTOR, "#segments tr")
    return page.find_element(By.ID, "status").text, [
        [cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows
    ]


def test_a_page_without_a_server_transcribes_in_the_browser_as_onnx_runtime_does(
    page: Chrome, exported: Exported, model: Onnx
) -> None:
    expected = model.transcribe(RECORDINGS[0], TranscribeRequest()).segments
    status, rows = transcribe(page, *sorted(exported("fp32").iterdir()))
    assert status.startswith("done: 3.9 s of audio in ")
    assert [(row[1], row[2]) for row in rows] == [(str(one.speaker), one.text) for one in expected]
    times = [[float(part.removesuffix(" s")) for part in row[0].split(" to ")] for row in rows]
    assert times == [[one.start, one.end] for one in expected]
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_page_says_which_file_of_an_export_is_missing(page: Chrome, exported: Exported) -> None:
    files = [path for path in sorted(exported("fp32").iterdir()) if path.name != "decoder.onnx.data"]
    status, rows = transcribe(page, *files)
    assert (status, rows) == ("failed: decoder.onnx.data is missing: choose all files of the export's folder", [])


@pytest.mark.parametrize(
    "text", ["This is a 3.88 seconds audio, please", "  don't\n\nÀ la carte: 12 ½ 東京 🙂 <|im_end|>x"]
)
def test_the_page_cuts_text_into_tokens_as_the_tokenizer_does(page: Chrome, model: Onnx, text: str) -> None:
    document = (CHECKPOINT / "tokenizer.json").read_text(encoding="utf-8")
    found = page.execute_script(
        "return new window.Tokenizer(JSON.parse(arguments[0])).encode(arguments[1])", document, text
    )
    assert found == model.tokenizer.encode(text, add_special_tokens=False).ids
    back = page.execute_script(
        "return new window.Tokenizer(JSON.parse(arguments[0])).decode(arguments[1])", document, found
    )
    assert back == model.tokenizer.decode(found)

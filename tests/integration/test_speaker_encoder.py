"""The real speaker encoder: whose voice is whose, the same numbers as PyTorch's export, and a graph that is always the
same."""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models import inventory
from dropscribe.models.speakers import campplus, encoder, onnx_bytes
from dropscribe.models.speakers.encoder import MIN_SAMPLES, SAMPLE_RATE, Embedding, SpeakerEncoder

EXPORT = Path(__file__).parents[3] / "shared" / "models" / "campplus.onnx"  # by PyTorch, with a Relu behind it
Samples = NDArray[np.float32]


def load_16k(path: Path) -> Samples:
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        frames = [*container.decode(audio=0), None]
        parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def talk(audio: Path) -> Samples:
    """Six minutes of three people."""
    return load_16k(audio / "talk3.mp3")


def cut(samples: Samples, start: float, seconds: float) -> Samples:
    return samples[int(start * SAMPLE_RATE) : int((start + seconds) * SAMPLE_RATE)]


def test_one_speaker_is_alike_and_two_are_not(speaker_encoder: SpeakerEncoder, talk: Samples, audio: Path) -> None:
    turns = json.loads((audio / "talk3.json").read_text())["segments"]
    heard = [(turn["speaker"], speaker_encoder.embed(cut(talk, turn["start"] + 5, 6))) for turn in turns]
    pairs = [(one == other, float(a @ b)) for (one, a), (other, b) in itertools.combinations(heard, 2)]
    assert min(alike for same, alike in pairs if same) >= 0.6
    assert max(alike for same, alike in pairs if not same) <= 0.4


def test_an_embedding_is_192_numbers_of_length_1(speaker_encoder: SpeakerEncoder, talk: Samples) -> None:
    for samples in (MIN_SAMPLES, 24_000, 200_000):
        found = speaker_encoder.embed(talk[16_000 : 16_000 + samples])
        assert (found.shape, found.dtype) == ((campplus.DIMENSIONS,), np.float32)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_silence_has_an_embedding_too(speaker_encoder: SpeakerEncoder) -> None:
    assert np.isfinite(speaker_encoder.embed(np.zeros(24_000, np.float32))).all()


def test_what_is_shorter_than_a_tenth_of_a_second_is_refused(speaker_encoder: SpeakerEncoder) -> None:
    with pytest.raises(ValueError, match="1599 samples are too short to distinguish speakers"):
        speaker_encoder.embed(np.zeros(MIN_SAMPLES - 1, np.float32))


def rectified(embedding: Embedding) -> Embedding:
    found: Embedding = np.maximum(embedding, 0) / np.linalg.norm(np.maximum(embedding, 0))
    return found


def test_it_computes_what_pytorch_exported(speaker_encoder: SpeakerEncoder, talk: Samples) -> None:
    if not EXPORT.is_file():
        pytest.skip("the export is not on this machine")
    exported = SpeakerEncoder(EXPORT, "exported")
    for start, seconds in ((3, 0.5), (90, 1.5), (130, 2.05), (90, 6.0), (130, 7.3)):
        stretch = cut(talk, start, seconds)
        assert np.abs(rectified(speaker_encoder.embed(stretch)) - exported.embed(stretch)).max() < 1e-4


def test_several_threads_get_what_one_gets(speaker_encoder: SpeakerEncoder, talk: Samples) -> None:
    stretches = [cut(talk, start, 1.5) for start in range(0, 40, 2)]
    alone = [speaker_encoder.embed(one) for one in stretches]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(speaker_encoder.embed, stretches))
    assert np.array_equal(alone, together)


def test_other_threads_run_while_it_computes(speaker_encoder: SpeakerEncoder, talk: Samples) -> None:
    ended, ticks = threading.Event(), 0
    thread = threading.Thread(target=lambda: (speaker_encoder.embed(cut(talk, 0, 40)), ended.set()))
    thread.start()
    while not ended.is_set():
        time.sleep(0.005)
        ticks += 1
    thread.join()
    assert ticks > 20


def test_its_weights_are_listed_as_what_they_are(speaker_weights: Path) -> None:
    repository = speaker_weights / "hub" / "models--csukuangfj--speaker-embedding-models"
    [folder] = (repository / "snapshots").iterdir()
    found = inventory.verify(inventory.examine(folder), lambda *_: None)
    assert (found.layout, found.architecture, found.problems, found.verified) == ("speakers", "CAM++", (), True)


def test_without_its_package_nothing_is_fetched_and_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, elsewhere: None
) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)  # what import makes of a package that is not there
    with pytest.raises(ModelUnavailableError, match=r"speaker encoder .* pip install -c .*\[cpu\]"):
        encoder.load(lambda *_: None)


def test_the_graph_is_always_the_same_and_asks_for_every_weight_by_its_name() -> None:
    model = onnx.load_from_string(campplus.graph())
    weights = {name for node in model.graph.node for name in node.input if name.startswith(("head.", "xvector."))}
    assert len(weights) == 815
    assert campplus.graph() == campplus.graph()
    assert {entry.key: entry.value for entry in model.metadata_props} == campplus.METADATA


def test_a_checkpoint_fills_the_graph_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    saved = {
        "head.conv1.weight": torch.arange(288.0).reshape(32, 1, 3, 3),
        "head.bn1.num_batches_tracked": torch.tensor(3),
    }
    torch.save(saved, tmp_path / "saved.pt")
    for name in ("one.onnx", "other.onnx"):
        campplus.fill(tmp_path / "saved.pt", tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()
    [weight] = onnx.load(tmp_path / "one.onnx").graph.initializer
    assert weight.name == "head.conv1.weight"
    assert np.array_equal(numpy_helper.to_array(weight), saved["head.conv1.weight"].numpy())


def test_attributes_of_every_kind_are_what_onnx_reads() -> None:
    attributes = {"of": 1.5, "count": -2, "list": (1, -1, 300)}
    written = onnx.NodeProto.FromString(onnx_bytes.node("Any", ("a", "b"), "c", attributes))
    assert (list(written.input), list(written.output), written.op_type) == (["a", "b"], ["c"], "Any")
    read = {one.name: onnx.helper.get_attribute_value(one) for one in written.attribute}
    assert read == {"of": 1.5, "count": -2, "list": [1, -1, 300]}

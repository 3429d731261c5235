"""`dropscribe.models` from Python: what the commands of the group `models` do, as functions."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path

import pytest
import soundfile
import torch

from dropscribe import models
from dropscribe.core.errors import UsageError
from dropscribe.core.settings import Settings
from dropscribe.models import functions
from dropscribe.models.vibevoice import loader

TINY = Path(__file__).parents[1] / "tiny"
CHECKPOINT = TINY / "checkpoint"

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")


def test_a_copy_is_made_and_held_against_its_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []
    copy = models.quantize(
        CHECKPOINT,
        tmp_path / "nf4",
        precision="nf4",
        device="cpu",
        progress=lambda what, _done, _all: steps.append(what),
    )
    assert (copy.precision, copy.parts) == ("nf4", ("language-model",))
    assert "quantizing" in steps
    caplog.set_level(logging.INFO)
    loader.load(str(copy.folder), "nf4", device=torch.device("cpu"))
    assert f"quantized are {copy.quantized} modules of language-model in nf4" in caplog.text
    audio = soundfile.read(TINY / "recordings" / "turns0.flac", dtype="float32")[0]
    result = models.validate(CHECKPOINT, copy.folder, [audio], settings=Settings(chunk_seconds=30, model_slots=1))
    assert result.precision == "nf4"
    assert len(result.found) == 1


def test_tensors_are_kept_in_fp32_by_a_word_in_their_names(tmp_path: Path) -> None:
    plain = models.convert(CHECKPOINT, tmp_path / "plain", dtype="fp16", mixed=False)
    with pytest.warns(UserWarning, match="larger than its source"):
        kept = models.convert(CHECKPOINT, tmp_path / "kept", dtype="fp16", mixed=False, keep_fp32=["self_attn"])
    assert (plain.fp32, kept.fp32 > 0) == (0, True)


def test_what_cannot_be_done_is_an_error_with_what_to_do_and_what_is_doubtful_a_warning(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tensor is called like lm_haed"):
        models.convert(CHECKPOINT, tmp_path / "copy", dtype="fp16", keep_fp32=["lm_haed"])
    with pytest.raises(ValueError, match="heart"):
        models.quantize(CHECKPOINT, tmp_path / "copy", precision="int8", only=["heart"])
    with pytest.warns(UserWarning, match="larger than its source"):
        models.convert(CHECKPOINT, tmp_path / "wide", dtype="fp32")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", models.__all__)
def test_every_public_function_is_documented_where_people_read(name: str) -> None:
    function = getattr(models, name)
    assert function is getattr(functions, name)
    document = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
    required = [parameter for parameter in inspect.signature(function).parameters if parameter != "settings"]
    described = next(line for line in document.splitlines() if line.startswith(f"| `models.{name}("))
    assert all(parameter in described for parameter in required)

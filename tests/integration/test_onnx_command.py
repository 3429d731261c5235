"""`dropscribe models export` and `models validate`: typos are errors with a hint, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context

TINY = Path(__file__).parents[1] / "tiny"
CHECKPOINT = TINY / "checkpoint"
RECORDING = min((TINY / "recordings").glob("*.flac"))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `dropscribe models` in this process."""
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["models", *map(str, arguments)], Context())
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["export", "a", "b"], 2, "--dtype"),
        (["export", "a", "b", "--dtype", "int8"], 2, "int4"),
        (["export", "a", "b", "--dtype", "int4", "--block-size", "33"], 2, "'32'"),
        (["export", "a", "b", "--dtype", "fp32"], 2, "a is not a folder; name a checkpoint's"),
        (["export", CHECKPOINT, CHECKPOINT, "--dtype", "fp32"], 2, "is there already; name another folder"),
        (["export", CHECKPOINT, "no/where", "--dtype", "fp32"], 2, "is not a folder; create it"),
        (["export", "quantized", "b", "--dtype", "fp32"], 1, "is quantized (int8); name the checkpoint that it was"),
        (["export", "speech", "b", "--dtype", "fp32"], 1, "holds a model of type whisper"),
        (["validate", CHECKPOINT, "b"], 2, "b is not a folder"),
        (["validate", CHECKPOINT, CHECKPOINT, "--audio", "no.wav"], 2, "no.wav is not a file; name a recording"),
        (["validate", CHECKPOINT, CHECKPOINT, "--audio", CHECKPOINT / "config.json"], 1, "config.json"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    arguments: list[str], code: int, hint: str, run: Run, tmp_path: Path
) -> None:
    for name, changes in (
        ("quantized", {"quantization_config": {"load_in_8bit": True}}),
        ("speech", {"model_type": "whisper"}),
    ):
        shutil.copytree(CHECKPOINT, tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(config | changes))
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert hint in err
    assert {path.name for path in tmp_path.iterdir()} <= {"quantized", "speech", "home", "huggingface"}


def test_a_checkpoint_is_as_good_as_itself_and_a_damaged_one_is_not(run: Run, tmp_path: Path) -> None:
    code, out, err = run("validate", CHECKPOINT, CHECKPOINT, "--audio", RECORDING)
    assert code == 0, err
    assert out.count(" ok") == 4  # in bf16, as it is stored
    import safetensors.torch

    damaged = Path(shutil.copytree(CHECKPOINT, tmp_path / "damaged"))
    weights = safetensors.torch.load_file(damaged / "model.safetensors")
    weights["multi_modal_projector.acoustic_linear_2.weight"] *= -1
    safetensors.torch.save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    code, out, err = run("validate", CHECKPOINT, damaged, "--audio", RECORDING, "--json")
    assert code == 1, err
    verdict = json.loads(out)
    passed = {score["name"]: score["passed"] for score in verdict["scores"]}
    assert (passed["encoder, cosine"], passed["decoder, cosine"], verdict["passed"]) == (False, True, False)


def test_without_pytorch_it_says_how_to_get_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom dropscribe.admin.cli.main import run; run()"
    arguments = ["models", "export", str(CHECKPOINT), str(tmp_path / "copy"), "--dtype", "fp16"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], text=True, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert "[gpu,onnx]" in ended.stderr.partition("pip install -c ")[2]
    assert "Traceback" not in ended.stderr

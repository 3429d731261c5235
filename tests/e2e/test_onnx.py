"""An ONNX export in 4 bits from the command that writes it to transcripts beside recordings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import onnx_ir
import pytest

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from tests.e2e.harness import Machine
from tests.schemas import conforms

TINY = Path(__file__).parents[1] / "tiny"
RECORDINGS = sorted((TINY / "recordings").glob("*.flac"))


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def models(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `dropscribe models ... --json` in this process, where other tests have imported torch and its exporter."""
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> dict[str, Any]:
        status = main(["models", *arguments, "--json"], Context())
        said, complained = capsys.readouterr()
        assert status == 0, said + complained
        answer: dict[str, Any] = json.loads(said)
        return answer

    return run


@pytest.mark.usefixtures("traced_once")
@pytest.mark.timeout(900)  # tracing is slow on a busy machine
def test_an_export_in_4_bits_is_written_validated_and_serves(
    models: Run, make_machine: Callable[..., Machine], tmp_path: Path
) -> None:
    folder = tmp_path / "int4"
    manifest = models("export", str(TINY / "checkpoint"), str(folder), "--dtype", "int4")
    conforms(manifest, "models-export")
    assert (manifest["dtype"], manifest["encoder_dtype"], manifest["block_size"]) == ("int4", "fp16", 32)
    nodes = [node.op_type for node in onnx_ir.load(folder / "decoder.onnx").graph]
    assert nodes.count("MatMulNBits") == 7 * 6  # seven linears in each layer, and nothing else
    shown = models("show", str(folder), "--verify")
    assert {"layout": "onnx", "quantization": "int4", "verified": True}.items() <= shown.items()

    options = [word for recording in RECORDINGS for word in ("--audio", str(recording))]
    verdict = models("validate", str(TINY / "checkpoint"), str(folder), *options)
    assert (verdict["reference"], verdict["precision"], verdict["passed"]) == ("fp32", "int4", True)
    conforms(verdict, "models-validate")

    machine = make_machine(ENGINE="onnx", MODEL=str(folder), CHUNK_SECONDS="60")
    for recording in RECORDINGS:
        shutil.copy(recording, machine.inbox)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    machine.assert_whole(*(recording.name for recording in RECORDINGS))
    said, read = [], []
    for recording in RECORDINGS:
        document = machine.transcript(recording.stem)
        assert (document["engine"]["engine"], document["engine"]["precision"]) == ("onnx", "int4")
        said.append(" ".join(turn["text"] for turn in json.loads(recording.with_suffix(".json").read_text())))
        read.append(" ".join(segment["text"] for segment in document["segments"]))
    assert jiwer.wer(said, read) <= 0.1, (said, read)

"""`dropscribe models convert`: small in memory, whole or not there, and the copy transcribes as its source does."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jiwer
import pytest
import soundfile
import torch
from safetensors import safe_open

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.core import machine_memory
from dropscribe.core.settings import Settings
from dropscribe.core.types import Segment
from dropscribe.models.base import TranscribeRequest
from dropscribe.models.checkpoints import convert, safetensors_files
from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.transcriber import VibeVoice
from tests.schemas import conforms

TINY = Path(__file__).parents[1] / "tiny"
CHECKPOINT = TINY / "checkpoint"
RECORDINGS = sorted((TINY / "recordings").glob("*.flac"))
WEIGHTS = CHECKPOINT / "model.safetensors"
with safe_open(WEIGHTS, "pt") as _file:
    TENSORS = len(list(_file.keys()))

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `dropscribe models convert` in this process."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["models", "convert", *map(str, arguments)], Context())
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def transcripts(source: Path, precision: str) -> list[tuple[Segment, ...]]:
    """Of all recordings, as a worker on this machine makes them."""
    chosen = Settings(engine="vibevoice", model=str(source), precision=precision, chunk_seconds=30, model_slots=1)
    model = VibeVoice.load(chosen)
    try:
        audio = [soundfile.read(path, dtype="float32")[0] for path in RECORDINGS]
        return [model.transcribe(one, TranscribeRequest()).segments for one in audio]
    finally:
        model.close()


def test_a_copy_in_fp16_transcribes_on_a_cpu_as_the_source_in_fp32(run: Run, tmp_path: Path) -> None:
    code, _, err = run(CHECKPOINT, "copy", "--dtype", "fp16")
    assert code == 0, err
    expected = transcripts(CHECKPOINT, "fp32")
    assert [len(one) for one in expected] == [3, 3, 3]
    turns = [json.loads(path.with_suffix(".json").read_text()) for path in RECORDINGS]
    assert [[s.speaker for s in one] for one in expected] == [[turn["speaker"] for turn in one] for one in turns]
    said, read = (
        [" ".join(texts) for texts in of]
        for of in ([[turn["text"] for turn in one] for one in turns], [[s.text for s in one] for one in expected])
    )
    assert jiwer.wer(said, read) <= 0.1, (said, read)
    copied = transcripts(tmp_path / "copy", "fp16")
    assert [[(s.text, s.speaker) for s in one] for one in copied] == [
        [(s.text, s.speaker) for s in one] for one in expected
    ]
    times = [[time for one in told for s in one for time in (s.start, s.end)] for told in (copied, expected)]
    assert times[0] == pytest.approx(times[1], abs=0.11)  # a tenth of a second is the last digit that it writes


def test_the_test_compares_every_number_and_the_answers_and_is_told_in_one_json_document(
    run: Run, tmp_path: Path
) -> None:
    code, out, err = run(CHECKPOINT, "copy", "--dtype", "fp16", "--test", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["dtype"], told["mixed"], told["folder"]) == ("fp16", True, str(tmp_path / "copy"))
    assert (told["tensors"], told["changed"], told["overflows"]) == (TENSORS, TENSORS, [])
    assert told["test"]["tensors"]["absolute"] < 2**-24  # half of the smallest number: all else of bf16 is exact
    assert told["test"]["logits"]["same_token"] == 1.0
    assert 0 < told["test"]["logits"]["relative"] < 0.01
    assert len(told["warnings"]) == 1
    assert "MB larger than its source" in told["warnings"][0]
    assert "warning: the copy is" in err
    conforms(told, "models-convert")


def test_people_are_told_what_was_written_and_how_it_differs(run: Run) -> None:
    code, out, _ = run(CHECKPOINT, "copy", "--dtype", "fp16", "--no-mixed", "--keep-fp32", "*lm_head*", "--test")
    assert code == 0
    assert re.search(rf"tensors +{TENSORS} of {TENSORS} converted; 1 are in fp32", out)
    assert re.search(r"numbers +differ by at most", out)
    assert re.search(r"logits +differ by .* the likeliest token is the same at 100\.0% of the positions", out)
    assert re.search(r"state +checked: every number was compared, and it ran", out)


def test_a_copy_that_this_machine_cannot_hold_is_not_called_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_memory, "total", lambda: 10**7)
    code, out, _ = run(CHECKPOINT, "copy", "--dtype", "fp16", "--test")
    assert code == 0
    shown = " ".join(out.split())
    assert "every number compared; not run here: in fp32 its source takes 0.0 GB of memory, of 0.0 GB" in shown
    assert "checked" not in shown


def test_a_copy_whose_activations_overflow_gets_no_name(run: Run, tmp_path: Path) -> None:
    import safetensors.torch

    source = Path(shutil.copytree(CHECKPOINT, tmp_path / "source"))
    weights = safetensors.torch.load_file(source / "model.safetensors")
    weights["language_model.model.embed_tokens.weight"] *= 1e6  # what follows is normalized: fp32 hardly notices
    weights = {name: weight.float() for name, weight in weights.items()}
    large = "language_model.model.layers.0.mlp.up_proj.weight"
    weights[large] = weights[large].clamp(-1, 1) * 60_000
    safetensors.torch.save_file(weights, source / "model.safetensors", {"format": "pt"})
    code, _, err = run(source, "copy", "--dtype", "fp16", "--test")
    assert code == 1
    assert "in fp16 the model computes numbers that overflow; use bf16" in err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


MEASURED = """
import json, sys
from pathlib import Path
from dropscribe.models.checkpoints import convert
from dropscribe.models.checkpoints.convert_plan import Rules

def peak(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

nothing = lambda *_: None
before = peak(reset=True)
convert.convert(sys.argv[1], Path(sys.argv[2]), Rules("fp16"), tell=nothing, warn=nothing)
print(peak() - before)
"""
LARGE = {"embed_tokens.weight": (152_064, 1_024), "lm_head.weight": (60_000, 1_024), "norm.weight": (1_024,)}


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_large_checkpoint_takes_little_memory(tmp_path: Path) -> None:
    """0.4 GB, with a tensor of 0.3 GB."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    (source / "config.json").write_text('{"torch_dtype": "bfloat16"}')
    sizes = [(name, "BF16", shape, 2 * torch.Size(shape).numel()) for name, shape in LARGE.items()]
    with (source / "model.safetensors").open("wb") as file:
        start = file.write(safetensors_files.header(sizes, {}))
        file.truncate(start + sum(size for *_, size in sizes))  # zeros that take no room
    try:
        command = [sys.executable, "-c", MEASURED, str(source), str(copy)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stderr
        assert (copy / "model.safetensors").stat().st_size > 430_000_000
        assert int(ended.stdout) < 256_000_000  # 118 MB were measured
    finally:
        shutil.rmtree(source)
        shutil.rmtree(copy, ignore_errors=True)


INTERRUPTED = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background may have it ignored
from dropscribe.models.checkpoints import convert
write = convert._write
def wait(*arguments):
    write(*arguments)
    print("written", flush=True)
    time.sleep(300)
convert._write = wait
from dropscribe.admin.cli.main import run; run()
"""


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "models", "convert", str(CHECKPOINT), "copy", "--dtype", "fp16"]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == "written\n"
        (half,) = tmp_path.iterdir()
        assert re.fullmatch(r"\.copy\.\w+\.partial", half.name)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_sees_a_bar(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    code, _, err = run(CHECKPOINT, "copy", "--dtype", "fp32")
    assert code == 0
    assert "writing" in err
    size = f"{WEIGHTS.stat().st_size / 1e6:.1f}"
    assert f"{size}/{size} MB" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["a", "b"], "--dtype"),
        (["a", "--dtype", "fp16"], "DST"),
        (["a", "b", "--dtype", "f16"], "fp16"),
        (["a", "b", "--dtype", "fp16", "--keep-fp23", "x"], "--keep-fp32"),
        (["a", "b", "--dtype", "fp16"], "a is not a folder; name a checkpoint's, or see `dropscribe models list`"),
        (["no/body", "b", "--dtype", "fp16"], "fetch it: dropscribe models fetch no/body"),
        (["../*", "b", "--dtype", "fp16"], "is not a folder"),
        ([CHECKPOINT, "b", "--dtype", "fp16", "--keep-fp32", "lm_haed"], "no tensor is called like lm_haed"),
        ([CHECKPOINT, "no/where/b", "--dtype", "fp16"], "is not a folder; create it"),
        ([CHECKPOINT, CHECKPOINT, "--dtype", "fp16"], "is there already; name another folder"),
    ],
)
def test_a_typo_is_an_error_with_a_hint(arguments: list[str], hint: str, run: Run, tmp_path: Path) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert hint in err
    assert list(tmp_path.iterdir()) == []


def test_without_pytorch_it_says_how_to_get_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom dropscribe.admin.cli.main import run; run()"
    arguments = ["models", "convert", str(CHECKPOINT), "copy", "--dtype", "fp16"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], text=True, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert "[gpu]" in ended.stderr.partition("pip install -c ")[2]
    assert "Traceback" not in ended.stderr


def test_the_copy_can_be_loaded_in_any_precision(run: Run, tmp_path: Path) -> None:
    assert run(CHECKPOINT, "copy", "--dtype", "fp16")[0] == 0
    for precision, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        loaded = loader.load(str(tmp_path / "copy"), precision, device=torch.device("cpu"))
        assert {parameter.dtype for parameter in loaded.model.parameters()} == {dtype}
    assert convert.PIECE % 8 == 0

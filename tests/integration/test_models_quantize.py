"""`dropscribe models quantize`: the copy is what the model quantized on load is, to the bit, or there is no copy."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import VibeVoiceAsrConfig, VibeVoiceAsrForConditionalGeneration

from dropscribe.admin.cli.main import COMMANDS, main
from dropscribe.admin.context import Context
from dropscribe.core import machine_memory
from dropscribe.core.errors import ModelError
from dropscribe.models.checkpoints import safetensors_files, shard_writer
from dropscribe.models.checkpoints.shard_writer import Writer
from dropscribe.models.vibevoice import bnb_packing, loader, parts, quantize
from dropscribe.models.vibevoice.parts import ModelPart
from dropscribe.models.vibevoice.prompt import Wording
from dropscribe.models.vibevoice.quantize import QuantizationError
from dropscribe.models.vibevoice.runner.step import ModelStep
from dropscribe.models.vibevoice.transcriber import VibeVoice
from tests.integration.original import write_original
from tests.schemas import conforms

TINY = Path(__file__).parents[1] / "tiny"
CHECKPOINT = TINY / "checkpoint"
CPU = torch.device("cpu")
LAYERS = json.loads((CHECKPOINT / "config.json").read_text())["text_config"]["num_hidden_layers"]
LINEARS = 7 * LAYERS  # of the tiny model's language model
SKIPPED = parts.skipped(parts.SAFE_PARTS)

pytestmark = pytest.mark.usefixtures("elsewhere", "one_thread")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `dropscribe models` in this process, on the CPU."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["models", *arguments], Context())
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def copy(run: Run, source: Path | str = CHECKPOINT, precision: str = "int8", name: str = "copy", *more: str) -> Any:
    """Without running it, unless `more` says so."""
    how = ["--precision", precision, "--device", "cpu", *([] if "--run" in more else ["--no-run"]), *more]
    return run("quantize", str(source), name, *how)


def changed(folder: Path, **changes: Any) -> Path:
    """The tiny checkpoint with another config."""
    made = Path(shutil.copytree(CHECKPOINT, folder / "changed"))
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | changes))
    return made


def answer(source: Path, precision: str) -> list[int]:
    """The tokens that follow a recording."""
    loaded = loader.load(str(source), precision, device=CPU)
    audio, rate = soundfile.read(TINY / "recordings" / "turns0.flac", dtype="float32")
    inputs = loaded.processor.apply_transcription_request(audio, processor_kwargs={"sampling_rate": rate})
    inputs = inputs.to(CPU, loaded.model.dtype)
    return loaded.model.generate(**inputs, sample=False, max_new_tokens=40)[0].tolist()


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_copy_answers_token_for_token_as_the_model_quantized_on_load(
    precision: str, run: Run, tmp_path: Path
) -> None:
    code, out, err = copy(run, CHECKPOINT, precision, "copy", "--run")
    assert code == 0, err
    assert f"{tmp_path / 'copy'} is in {precision}: {LINEARS} modules of language-model quantized" in out
    assert "these modules counted; checked: it was loaded as a worker does, and ran; set DROPSCRIBE_MODEL" in out
    assert err.index("quantizing") < err.index("checking") < err.index("running it")
    assert "warning" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {path.name for path in CHECKPOINT.iterdir()}
    assert answer(tmp_path / "copy", precision) == answer(CHECKPOINT, precision)


def test_a_copy_that_this_machine_cannot_hold_is_there_and_is_not_called_checked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_memory, "allowance", lambda _: 10**8)
    code, out, err = copy(run, CHECKPOINT, "nf4", "copy", "--run")
    assert code == 0, err
    assert re.search(r"modules counted; not run here: .* does not fit: .* of 0\.10 GB", out)
    assert "checked" not in out
    assert (tmp_path / "copy" / "config.json").is_file()
    told = json.loads(copy(run, CHECKPOINT, "nf4", "other", "--run", "--json")[1])
    assert not told["checked"]
    assert "does not fit" in told["not_run"]
    assert "not run here: nobody asked for it" in copy(run, CHECKPOINT, "nf4", "third")[1]


def test_a_copy_stays_where_memory_ends_though_the_plan_fits_and_where_another_machines_kernel_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_VIBEVOICE_ATTENTION", "varlen")

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    code, out, err = copy(run, CHECKPOINT, "nf4", "ran", "--run")
    assert (code, "checked: it was loaded" in out) == (0, True), err
    while_warming_up = (ModelStep, "run")
    for place, name in (
        (VibeVoiceAsrForConditionalGeneration, "from_pretrained"),
        (ModelStep, "resize"),
        while_warming_up,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            code, out, err = copy(run, CHECKPOINT, "nf4", name, "--run")
        assert code == 0, err
        assert "not run here: out of GPU memory: CUDA out of memory" in out
        assert (tmp_path / name / "config.json").is_file()


def test_a_copy_that_does_not_run_does_not_appear(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ModelError("CUDA error", remedy="see `dropscribe doctor`")

    monkeypatch.setattr(VibeVoice, "warm_up", fail)
    code, _, err = copy(run, CHECKPOINT, "nf4", "copy", "--run")
    assert (code, "error: CUDA error" in err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def bits(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """What tells the content of each tensor, its dtype and shape from any other."""
    return {
        name: f"{tensor.dtype} {tuple(tensor.shape)} "
        + hashlib.sha256(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().data).hexdigest()
        for name, tensor in tensors.items()
    }


def files(folder: Path) -> dict[str, torch.Tensor]:
    return {name: one for path in folder.glob("*.safetensors") for name, one in load_file(path).items()}


EVERY_PART: list[ModelPart] = list(parts.PARTS)
CHOICES: list[list[ModelPart]] = [["language-model"], ["head", "projector"], ["acoustic-encoder"], EVERY_PART]


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize(
    ("chosen", "source_dtype"),
    [*((choice, "bf16") for choice in CHOICES), (EVERY_PART, "fp32")],
    ids=lambda one: one if isinstance(one, str) else ",".join(one),
)
def test_every_tensor_of_a_copy_is_what_loading_would_have_made_of_it(
    precision: str,
    chosen: list[ModelPart],
    source_dtype: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In memory, and in the files that transformers itself would write; pieces and files much smaller than weights."""
    monkeypatch.setattr(bnb_packing, "MOST", 1000)
    monkeypatch.setattr(shard_writer, "LARGEST", 100_000)
    source = CHECKPOINT
    if source_dtype == "fp32":
        source = tmp_path / "source"
        assert main(["models", "convert", str(CHECKPOINT), str(source), "--dtype", "fp32"], Context()) == 0
    code, _, err = copy(run, source, precision, "copy", *[word for part in chosen for word in ("--only", part)])
    assert code == 0, err
    on_load = loader.load(str(source), precision, device=CPU, parts=chosen)
    from_copy = loader.load(str(tmp_path / "copy"), precision, device=CPU)
    assert bits(from_copy.model.state_dict()) == bits(on_load.model.state_dict())
    assert set(quantize.quantized_modules(from_copy.model)) == quantize.intended(on_load.model, chosen)
    assert from_copy.quantized == on_load.quantized == tuple(part for part in parts.PARTS if part in chosen)
    on_load.model.save_pretrained(tmp_path / "saved")
    assert bits(files(tmp_path / "copy")) == bits(files(tmp_path / "saved"))
    assert len(list((tmp_path / "copy").glob("model-*-of-*.safetensors"))) > 3


@pytest.mark.parametrize("part", ["acoustic-encoder", "semantic-encoder", "projector", "head"])
def test_each_unsafe_part_is_warned_of_with_the_reason(part: str, run: Run, tmp_path: Path) -> None:
    code, out, err = copy(run, CHECKPOINT, "int8", "copy", "--only", "language-model", "--only", part, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["parts"] == [known for known in parts.PARTS if known in {"language-model", part}]
    (warning,) = told["warnings"]
    assert warning.startswith(f"quantizing {part} is unsafe: ")
    assert f"warning: {warning}" in err
    record = json.loads((tmp_path / "copy" / "config.json").read_text())[quantize.RECORD]
    assert record["parts"] == told["parts"]
    assert len(record["modules"]) == told["quantized"] > LINEARS


def test_a_part_can_be_left_out_and_something_must_be_left(run: Run, tmp_path: Path) -> None:
    code, out, _ = copy(run, CHECKPOINT, "int8", "copy", "--only", "head", "--only", "projector", "--skip", "projector")
    assert code == 0
    assert "1 modules of head quantized" in out
    code, _, err = copy(run, CHECKPOINT, "int8", "none", "--skip", "language-model")
    assert code == 2
    assert "nothing is left to quantize; name with --only what should be: language-model, acoustic-encoder" in err
    assert not (tmp_path / "none").exists()


def test_a_copy_that_holds_something_else_than_its_record_says_is_not_served(run: Run, tmp_path: Path) -> None:
    assert copy(run)[0] == 0
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    left_out = config[quantize.RECORD]["modules"].pop(5)
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with pytest.raises(QuantizationError, match=f"1 quantized, but should not be: {left_out};"):
        loader.load(str(tmp_path / "copy"), "int8", device=CPU)


def test_a_source_without_some_weights_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    source = Path(shutil.copytree(CHECKPOINT, tmp_path / "source"))
    weights = load_file(source / "model.safetensors")
    del weights["language_model.model.layers.1.mlp.up_proj.weight"]
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    code, _, err = copy(run, source)
    assert code == 1
    assert "lacks 1 weights, the first model.language_model.layers.1.mlp.up_proj.weight; fetch it again" in err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_whoever_may_read_one_file_may_read_all(run: Run, tmp_path: Path) -> None:
    os.umask(0o027)
    assert copy(run)[0] == 0
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "copy").iterdir()} == {0o640}
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o750


def test_an_empty_folder_is_filled_and_the_summary_is_one_json_document(run: Run, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    code, out, _ = copy(run, CHECKPOINT, "nf4", "copy", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["source"], told["folder"], told["precision"]) == (str(CHECKPOINT), str(tmp_path / "copy"), "nf4")
    assert (told["device"], told["revision"], told["quantized"]) == ("cpu", "", LINEARS)
    assert (told["parts"], told["files"], told["warnings"]) == (["language-model"], 1, [])
    assert told["size"] == sum(path.stat().st_size for path in (tmp_path / "copy").iterdir())
    conforms(told, "models-quantize")


def test_a_terminal_sees_what_is_being_done_while_it_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    code, out, err = copy(run)
    assert code == 0
    assert "checking" in err
    assert "copy is in int8" in out


@pytest.mark.parametrize("taken", ["file", "folder", "link"])
def test_what_is_there_is_not_touched(taken: str, run: Run, tmp_path: Path) -> None:
    if taken == "file":
        (tmp_path / "copy").write_text("mine")
    else:
        folder = tmp_path / ("copy" if taken == "folder" else "other")
        folder.mkdir()
        (folder / "mine").touch()
        if taken == "link":
            (tmp_path / "copy").symlink_to(folder)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = copy(run)
    assert (code, out) == (2, "")
    assert "error: copy is there already; name another folder" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_copy_of_the_original_layout_is_that_of_the_same_model_in_the_layout_of_transformers(
    run: Run, tmp_path: Path
) -> None:
    original = write_original(tmp_path / "original")
    assert "`dropscribe models quantize` and `export` make a copy" in " ".join(run("show", str(original))[1].split())
    for source, name in ((original, "of the original"), (CHECKPOINT, "of ours")):
        code, _, err = copy(run, source, "nf4", name)
        assert code == 0, err
    assert bits(files(tmp_path / "of the original")) == bits(files(tmp_path / "of ours"))
    ours, theirs = (loader.read_config(str(tmp_path / name)) for name in ("of ours", "of the original"))
    parts_of = (
        "acoustic_tokenizer_encoder_config",
        "semantic_tokenizer_encoder_config",
        "text_config",
        "audio_token_id",
    )
    assert {name: theirs[name] for name in (*parts_of, quantize.RECORD)} == {
        name: ours[name] for name in (*parts_of, quantize.RECORD)
    }
    assert Wording.of(loader.read_processor(str(tmp_path / "of the original"))) == Wording.of(
        loader.read_processor(str(CHECKPOINT))
    )


def test_the_original_layout_takes_the_tokenizer_of_its_language_model_from_the_cache(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = write_original(tmp_path / "original")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (original / "preprocessor_config.json").write_text('{"language_model_pretrained_name": "Qwen/Qwen2.5-1B"}')
    snapshot = tmp_path / "hub" / "models--Qwen--Qwen2.5-1B" / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (original / name).rename(tmp_path / name)
    code, _, err = copy(run, original)
    assert code == 1
    assert "has no tokenizer: it takes that of Qwen/Qwen2.5-1B, which is not here; fetch it (7 MB): hf download" in err
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).rename(snapshot / name)
    assert copy(run, original)[0] == 0


def test_a_model_of_speech_synthesis_and_a_config_that_is_none_are_refused(run: Run, tmp_path: Path) -> None:
    original = write_original(tmp_path / "original")
    config = json.loads((original / "config.json").read_text())
    del config["acoustic_tokenizer_config"]["encoder_depths"]
    (original / "config.json").write_text(json.dumps(config))
    code, _, err = copy(run, original)
    assert (code, "is not that of VibeVoice-ASR (KeyError: 'encoder_depths'); fetch it again" in err) == (1, True)
    save_file({"model.prediction_head.x": torch.ones(1)}, original / "model.safetensors")
    code, _, err = copy(run, original)
    assert (code, "is a model of speech synthesis; use microsoft/VibeVoice-ASR-HF" in err) == (1, True)


def test_a_source_that_cannot_be_used_is_refused_with_what_to_do(run: Run, tmp_path: Path) -> None:
    assert copy(run, CHECKPOINT, "int8", "first")[0] == 0
    code, _, err = copy(run, tmp_path / "first", "nf4")
    assert code == 1
    assert "first is quantized (int8); name the checkpoint that it was made from" in err
    for typo in ("chekpoint", "./chekpoint", "a/b/chekpoint", str(tmp_path / "chekpoint")):
        code, _, err = copy(run, typo)
        assert code == 2
        assert f"{typo} is not a folder; name a checkpoint's" in err
    assert not (tmp_path / "copy").exists()


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    config = json.loads((CHECKPOINT / "config.json").read_text())
    endless = config["text_config"] | {"num_hidden_layers": 10**9}
    code, _, err = copy(run, changed(tmp_path, text_config=endless))
    assert code == 1
    assert "GB free and the copy takes" in err
    assert "quantizing" not in err
    assert not (tmp_path / "copy").exists()


def test_a_place_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = copy(run, CHECKPOINT, "int8", "not/there/copy")
    assert code == 2
    assert f"{tmp_path / 'not' / 'there'} is not a folder; create it" in err
    code, _, err = copy(run, CHECKPOINT, "int8", "/proc")
    assert code == 2
    assert "/proc is a mount point; name a folder below it" in err
    code, _, err = copy(run, CHECKPOINT, "int8", "x" * 250)
    assert code == 1
    assert "cannot write" in err
    assert "File name too long; choose another folder" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_when_asked_for(run: Run) -> None:
    code, _, err = run("quantize", str(CHECKPOINT), "copy", "--precision", "int8", "--device", "cuda")
    assert code == 1
    assert "PyTorch sees no GPU; use --device cpu" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["quantise", "a", "b"], "Did you mean 'quantize'"),
        (["quantize", "a", "b"], "--precision"),
        (["quantize", "a", "--precision", "int8"], "DST"),
        (["quantize", "a", "b", "--precision", "int4"], "int8"),
        (["quantize", "a", "b", "--precision", "int8", "--device", "gpu"], "cuda"),
    ],
)
def test_a_typo_is_an_error_with_a_hint(arguments: list[str], hint: str, run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert hint in err


def test_a_copy_that_reads_back_differently_gets_no_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Writer.close

    def close_badly(writer: Writer) -> int:
        files = close(writer)
        (weights,) = tmp_path.glob(".copy.*.partial/model.safetensors")
        with weights.open("r+b") as file:
            middle = file.seek(0, os.SEEK_END) // 2
            file.seek(middle)
            [byte] = file.read(1)
            file.seek(middle)
            file.write(bytes([byte ^ 1]))
        return files

    monkeypatch.setattr(Writer, "close", close_badly)
    code, _, err = copy(run)
    assert code == 1
    assert f"{shard_writer.READ_BACK}: model.safetensors; check the disk" in err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_wrongly_quantized_is_not_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "skipped", lambda _: SKIPPED[:3])
    code, _, err = copy(run)
    assert code == 1
    assert "1 quantized, but should not be: lm_head" in err
    assert list(tmp_path.iterdir()) == []


MEASURED = """
import sys
from pathlib import Path
import transformers
from dropscribe.models.vibevoice import checkpoint

def peak(reset=False):
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

source, folder = sys.argv[1:]
nothing = lambda *_: None
for precision in ("int8", "nf4"):
    before = peak(reset=True)
    checkpoint.write_quantized(source, Path(folder, precision), precision, tell=nothing, warn=nothing, device="cpu")
    print(before, peak())
"""
GIGABYTE = 1_000_000_000


def large(folder: Path) -> tuple[int, int]:
    """A checkpoint of the tiny one's form, but with a language model of 0.3 B parameters in zeros, which take no room
    on the disk; returns the bytes of its weights and those of its largest tensor."""
    source = Path(shutil.copytree(CHECKPOINT, folder))
    config = json.loads((source / "config.json").read_text())
    config["text_config"] |= {"hidden_size": 1024, "intermediate_size": 4096, "vocab_size": 120_000}
    config["text_config"] |= {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}
    (source / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        made: Any = VibeVoiceAsrForConditionalGeneration(VibeVoiceAsrConfig.from_dict(config))
    sizes = [(name, "BF16", tuple(one.shape), 2 * one.numel()) for name, one in made.state_dict().items()]
    with (source / "model.safetensors").open("wb") as file:
        start = file.write(safetensors_files.header(sizes, {"format": "pt"}))
        file.truncate(start + sum(size for *_, size in sizes))
    return sum(size for *_, size in sizes), max(size for *_, size in sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_checkpoint_of_hundreds_of_megabytes_takes_less_than_a_gigabyte_and_its_largest_tensor(
    tmp_path: Path,
) -> None:
    total, largest = large(tmp_path / "source")
    assert total > 550_000_000
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "source"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr
    for precision, line in zip(("int8", "nf4"), ended.stdout.splitlines(), strict=True):
        before, peak = map(int, line.split())
        shutil.rmtree(tmp_path / precision)
        assert peak < GIGABYTE + largest
        assert peak - before < total - largest  # of what is not PyTorch itself


def test_ctrl_c_in_the_middle_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the signal itself does is tested with `models convert`, in a process of its own."""
    close, halves = Writer.close, []

    def interrupted(writer: Writer) -> None:
        close(writer)
        halves.extend(tmp_path.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "close", interrupted)
    code, _, _ = copy(run)
    assert code == 130
    assert [re.fullmatch(r"\.copy\.\w+\.partial", half.name) is not None for half in halves] == [True]
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_of_vibevoice_it_says_how_to_get_them() -> None:
    code = "import sys; sys.modules['bitsandbytes'] = None\nfrom dropscribe.admin.cli.main import run; run()"
    arguments = ["models", "quantize", str(CHECKPOINT), "copy", "--precision", "int8", "--device", "cpu"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], text=True, capture_output=True, timeout=240)
    assert ended.returncode == 1
    assert "error: vibevoice needs more packages" in ended.stderr
    assert "[gpu]" in ended.stderr.partition("pip install -c ")[2]
    assert "Traceback" not in ended.stderr


def test_every_command_of_a_group_has_help_with_an_example_and_is_documented(run: Run) -> None:
    group = COMMANDS["models"]
    assert group.rich_help_panel == "Models"
    for name in group.commands:
        code, out, _ = run(name, "--help")
        assert code == 0
        assert f"dropscribe models {name}" in out.partition("Examples:")[2]

"""Checkpoints: which are read, which are refused, and what is chosen for the machine."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.models.gpu import lock
from dropscribe.models.vibevoice import loader, memory_plan, offloading, transcriber
from dropscribe.models.vibevoice.dimensions import PUBLISHED
from dropscribe.models.vibevoice.memory_plan import Precision, Saving
from dropscribe.models.vibevoice.parts import SAFE_PARTS
from dropscribe.models.vibevoice.runner import attention as paged_attention
from dropscribe.models.vibevoice.transcriber import VibeVoice

CPU = torch.device("cpu")
ELSEWHERE = torch.device("meta")  # in the place of the machine's memory, where the CPU stands for a card


def with_config(checkpoint: Path, folder: Path, **changes: object) -> str:
    copy = shutil.copytree(checkpoint, folder / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    return str(copy)


def test_a_loaded_model_says_how_it_was_loaded(checkpoint: Path) -> None:
    loaded = loader.load(str(checkpoint), "fp32", device=CPU)
    assert (loaded.precision, loaded.attention, loaded.attention_reason) == ("fp32", "sdpa", "there is no GPU")
    assert loaded.model.model.language_model.config._attn_implementation == paged_attention.NAME
    assert not loaded.model.training
    assert loaded.processor.audio_token_id == loaded.model.config.audio_token_id
    assert (loaded.memory_held, loaded.memory_free) == (0, 0)


def test_the_original_layout_is_refused_with_the_name_of_the_right_one(checkpoint: Path, tmp_path: Path) -> None:
    original = with_config(
        checkpoint, tmp_path, model_type="vibevoice", architectures=["VibeVoiceForASRTraining"], decoder_config={}
    )
    with pytest.raises(
        ModelUnavailableError, match=r"original layout.*make a copy .*or use microsoft/VibeVoice-ASR-HF"
    ):
        loader.load(original, "fp32", device=CPU)


def test_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"model of type whisper; use microsoft/VibeVoice-ASR-HF"):
        loader.read_config(with_config(checkpoint, tmp_path, model_type="whisper"))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"gone is not a folder; name a checkpoint.s \(DROPSCRIBE_MODEL\)"):
        loader.read_config(str(tmp_path / "gone"))


def test_a_folder_without_a_checkpoint_says_how_to_fetch_one(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"cannot read the checkpoint .*hf download"):
        loader.read_config(str(tmp_path))


def test_a_checkpoint_without_some_weights_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    del weights[next(name for name in weights if "lm_head" in name)]
    safetensors.torch.save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=r"lacks 1 weights, the first lm_head\.weight"):
        loader.load(str(copy), "fp32", device=CPU)


def test_a_torn_file_of_weights_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelUnavailableError, match="cannot read the checkpoint"):
        loader.load(str(copy), "fp32", device=CPU)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_without_a_gpu_attention_is_sdpa_in_every_number_format(dtype: torch.dtype) -> None:
    found = loader.attention_on(CPU, "auto", dtype, PUBLISHED)
    assert (found.name, found.reason) == ("sdpa", "there is no GPU")


def test_a_loaded_model_tells_its_attention_and_why(checkpoint: Path) -> None:
    loaded = loader.load(str(checkpoint), "fp32", device=CPU, attention="sdpa")
    assert (loaded.attention, loaded.attention_reason) == ("sdpa", "set by DROPSCRIBE_VIBEVOICE_ATTENTION")
    with pytest.raises(ModelUnavailableError, match="there is no GPU; set DROPSCRIBE_VIBEVOICE_ATTENTION=sdpa"):
        loader.load(str(checkpoint), "fp32", device=CPU, attention="varlen")


def test_without_a_gpu_auto_is_full_precision(checkpoint: Path) -> None:
    plan = transcriber.make_plan(Settings(model=str(checkpoint)), CPU)
    assert plan.precision is Precision.FP32


def test_a_checkpoint_that_comes_quantized_is_planned_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    loaded = loader.load(str(checkpoint), "nf4", device=CPU)
    loaded.model.save_pretrained(tmp_path)
    loaded.processor.save_pretrained(tmp_path)
    plan = transcriber.make_plan(Settings(model=str(tmp_path)), CPU)
    assert plan.precision is Precision.NF4


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8, Precision.NF4])
def test_graphs_are_captured_only_where_they_are_planned(precision: Precision) -> None:
    plan = memory_plan.plan(80 * memory_plan.GIB, PUBLISHED, precision, 300, 4, paged=True)
    sizes = transcriber.runner_sizes(plan)
    assert sizes.graphs == bool(plan.parts["graphs"]) == (precision is not Precision.INT8)
    assert (sizes.slots, sizes.tokens_per_slot, sizes.step_tokens) == (4, plan.slot_tokens, plan.prefill_tokens)


OFF_THE_CARD = {
    Saving.NONE: (),
    Saving.EMBEDDINGS: ("model.language_model.embed_tokens.",),
    Saving.ENCODERS: (
        "model.language_model.embed_tokens.",
        "model.acoustic_tokenizer_encoder.",
        "model.semantic_tokenizer_encoder.",
    ),
}
OFF_THE_CARD[Saving.FP8_CACHE] = OFF_THE_CARD[Saving.ENCODERS]


@pytest.mark.parametrize("saving", list(Saving))
@pytest.mark.parametrize("precision", ["fp32", "int8", "nf4"])
def test_on_a_small_card_these_weights_and_no_others_stay_off_it(
    checkpoint: Path, precision: str, saving: Saving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offloading, "HOST", ELSEWHERE)
    loaded = loader.load(str(checkpoint), precision, device=CPU, saving=saving)
    places = {name: weight.device for name, weight in loaded.model.named_parameters()}
    assert places == {name: ELSEWHERE if name.startswith(OFF_THE_CARD[saving]) else CPU for name in places}
    assert (len(set(places.values())) == 2) == (saving > Saving.NONE)
    assert not any(hasattr(module, "_hf_hook") for module in loaded.model.modules()), "nothing moves tensors unasked"
    assert loaded.quantized == (() if precision == "fp32" else SAFE_PARTS)
    assert (loaded.attention_reason == "no kernel takes keys and values in fp8") == (saving is Saving.FP8_CACHE)


def test_weights_that_lie_where_they_should_not_are_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loader.load(str(checkpoint), "fp32", device=CPU).model
    monkeypatch.setattr(offloading, "HOST", ELSEWHERE)
    with pytest.raises(ModelUnavailableError, match=r"1 weights .*model\.language_model\.embed_tokens\.weight on cpu"):
        offloading.settle(model, Saving.EMBEDDINGS, CPU)


def test_a_plan_that_does_not_fit_is_refused_with_the_numbers(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcriber, "_memory", lambda *_: 100_000_000)
    with pytest.raises(ModelUnavailableError, match=r"does not fit: .* takes .* GB \(weights .*of 0\.10 GB"):
        transcriber.make_plan(Settings(model=str(checkpoint)), CPU)


def test_a_plan_that_does_not_fit_its_share_names_the_setting(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcriber, "_memory", lambda _, share, __: int(share * 1e9))
    transcriber.make_plan(Settings(model=str(checkpoint)), CPU)
    with pytest.raises(ModelUnavailableError, match=r"of 0\.45 GB; .*raise DROPSCRIBE_GPU_SHARE \(now 0\.45\), lower"):
        transcriber.make_plan(Settings(model=str(checkpoint), gpu_share=0.45), CPU)


def test_the_memory_of_a_card_is_measured_and_taken_under_its_lock(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = []

    def look(*_: object) -> None:
        with (tmp_path / "dropscribe-gpu-card.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(True)
            else:
                locked.append(False)

    measure, warm_up = transcriber._memory, VibeVoice.warm_up
    monkeypatch.setattr(transcriber, "_turn", lambda *_: lock.held("card", tmp_path))
    monkeypatch.setattr(transcriber, "_memory", lambda *arguments: look() or measure(*arguments))
    monkeypatch.setattr(VibeVoice, "warm_up", lambda self: warm_up(self) or look())
    VibeVoice.load(Settings(model=str(checkpoint), chunk_seconds=30)).close()
    look()
    assert locked == [True, True, False]


def test_a_chunk_length_that_was_asked_for_is_not_silently_shortened(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcriber, "_memory", lambda *_: 700_000_000)
    assert transcriber.make_plan(Settings(model=str(checkpoint)), CPU).chunk_seconds < 1800
    with pytest.raises(ModelUnavailableError, match="does not fit"):
        transcriber.make_plan(Settings(model=str(checkpoint), chunk_seconds=1800), CPU)

"""The memory plan: its numbers are those of the published checkpoint, and it grows with what is asked of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.gpu.allowance import CUDA_CONTEXT, allowance
from dropscribe.models.vibevoice import parts
from dropscribe.models.vibevoice.dimensions import PUBLISHED, EncoderDimensions, ModelDimensions
from dropscribe.models.vibevoice.memory_plan import (
    BEST_FIRST,
    COMPARED_CHUNKS,
    ENOUGH_CHUNK,
    GIB,
    MAX_CHUNK,
    MAX_NEW_TOKENS,
    MIN_CHUNK,
    Precision,
    Saving,
    answer_budget,
    cache_per_token,
    choose,
    chunk_lengths,
    graph_batches,
    longest_chunk,
    most_slots,
    plan,
    slot_tokens,
    table,
    weights,
)
from dropscribe.models.vibevoice.parts import ModelPart

TEXT = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
}
SMALL = {
    "text_config": TEXT
    | {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 384,
        "vocab_size": 512,
    }
    | {"head_dim": 32, "tie_word_embeddings": True},
    "acoustic_tokenizer_encoder_config": {"hidden_size": 16, "num_filters": 4, "depths": [0, 0, 0, 0, 1, 2, 1]},
    "semantic_tokenizer_encoder_config": {"hidden_size": 24, "num_filters": 2, "depths": [1, 1, 1, 1, 1, 1, 1]},
}
CONFIG = {
    "text_config": TEXT,
    "acoustic_tokenizer_encoder_config": {},
    "semantic_tokenizer_encoder_config": {"hidden_size": 128},
}
CARDS = st.integers(4 * GIB, 200 * GIB)
PRECISIONS = st.sampled_from(list(Precision))


def parameters_of(config: dict[str, object]) -> tuple[int, dict[str, tuple[int, int]]]:
    """Parameters of transformers' own model, and weights and outputs of each part's linears, counted without memory."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    text = transformers.Qwen2Config(**config["text_config"])
    encoders = {name: part for name, part in config.items() if name != "text_config"}
    with torch.device("meta"):
        model = transformers.VibeVoiceAsrForConditionalGeneration(
            transformers.VibeVoiceAsrConfig(text_config=text, **encoders)
        )
    linears: dict[str, tuple[int, int]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            part = str(parts.part_of(name))
            weights, outputs = linears.get(part, (0, 0))
            linears[part] = weights + module.weight.numel(), outputs + module.out_features
    return sum(map(torch.Tensor.numel, model.parameters())), linears


def test_the_published_checkpoint_has_8_33_billion_parameters() -> None:
    assert PUBLISHED.parameters == 8_330_325_888
    assert PUBLISHED.linears(ModelPart.LANGUAGE_MODEL)[0] == 6_525_288_448
    assert [encoder.parameters for encoder in PUBLISHED.encoders] == [343_696_032, 344_613_600]
    assert ModelDimensions.from_config(CONFIG) == PUBLISHED


@pytest.mark.parametrize("config", [CONFIG, SMALL], ids=["published", "small"])
def test_the_parameters_are_those_of_the_model_that_transformers_builds(config: dict[str, object]) -> None:
    geometry = ModelDimensions.from_config(config)
    assert (geometry.parameters, {part: geometry.linears(part) for part in parts.PARTS}) == parameters_of(config)


def test_every_part_that_is_quantized_makes_the_weights_smaller() -> None:
    for precision in (Precision.INT8, Precision.NF4):
        sizes = [weights(replace(PUBLISHED, quantized=parts.PARTS[:count]), precision) for count in (1, 2, 3, 4, 5)]
        assert sizes == sorted(set(sizes), reverse=True)
    with_head = weights(replace(PUBLISHED, quantized=(ModelPart.LANGUAGE_MODEL, ModelPart.HEAD)), Precision.INT8)
    assert weights(PUBLISHED, Precision.INT8) - with_head == 152_064 * (3584 - 4)
    assert weights(replace(PUBLISHED, quantized=parts.PARTS), Precision.BF16) == weights(PUBLISHED, Precision.BF16)


@pytest.mark.parametrize(
    ("precision", "gigabytes"), [("bf16", 16.66), ("fp16", 16.66), ("fp32", 33.32), ("int8", 10.14), ("nf4", 6.98)]
)
def test_the_weights_take_what_was_measured(precision: str, gigabytes: float) -> None:
    assert weights(PUBLISHED, Precision(precision)) / 1e9 == pytest.approx(gigabytes, abs=0.005)


def test_the_cache_takes_57344_bytes_a_token() -> None:
    assert cache_per_token(PUBLISHED, Precision.BF16) == 57_344
    assert cache_per_token(PUBLISHED, Precision.FP32) == 2 * 57_344


def test_audio_takes_7_5_tokens_a_second() -> None:
    assert PUBLISHED.audio_tokens(1800) == 13_500
    assert PUBLISHED.audio_tokens(0.01) == 1


def test_the_budget_of_an_answer_has_room_for_the_densest_speech_seen() -> None:
    assert answer_budget(1800) >= 32_000 - 13_500  # half an hour took 32 thousand tokens at most, audio included
    assert answer_budget(240) >= 23 * 240  # rapid exchanges
    assert answer_budget(1e6) == MAX_NEW_TOKENS
    assert slot_tokens(PUBLISHED, 1800) % 256 == 0


def test_an_encoder_has_tensors_of_0_4_gb_in_a_piece_of_a_minute() -> None:
    expanded = 1_440_000 * 32 * 4 * Precision.BF16.width
    assert expanded / 1e9 == pytest.approx(0.37, abs=0.01)
    assert EncoderDimensions(64).live(1_440_000) * Precision.BF16.width == pytest.approx(2.75 * expanded)


@pytest.mark.parametrize(
    "config", [{}, {"text_config": TEXT}, CONFIG | {"text_config": {}}, CONFIG | {"text_config": 3}]
)
def test_the_config_of_another_model_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ModelUnavailableError, match="microsoft/VibeVoice-ASR-HF"):
        ModelDimensions.from_config(config)


# What users saw with bf16 and without batching


@pytest.mark.parametrize(("card", "minutes", "fits"), [(24, 30, True), (24, 90, False), (48, 60, True)])
def test_what_was_seen_to_fit_fits(card: int, minutes: int, fits: bool) -> None:
    assert plan(card * GIB, PUBLISHED, Precision.BF16, 60 * minutes, 1, batching=False).fits is fits


# How plans behave


@given(CARDS, PRECISIONS, st.floats(1, 3600), st.integers(1, 64), st.booleans(), st.booleans())
def test_more_audio_or_more_slots_never_take_less(vram, precision, seconds, slots, batching, paged) -> None:
    def total(seconds: float, slots: int) -> int:
        return plan(vram, PUBLISHED, precision, seconds, slots, batching=batching, paged=paged).total

    assert total(seconds, slots) <= total(seconds + 30, slots)
    assert total(seconds, slots) < total(seconds, slots + 1)


@given(CARDS, PRECISIONS, st.floats(1, 3600), st.integers(1, 64))
def test_attention_on_pages_takes_less_than_copies_of_them(vram, precision, seconds, slots) -> None:
    copied = plan(vram, PUBLISHED, precision, seconds, slots)
    assert plan(vram, PUBLISHED, precision, seconds, slots, paged=True).total < copied.total


@given(st.integers(1, 256))
def test_every_number_of_requests_has_a_cuda_graph_that_is_at_most_twice_as_large(slots) -> None:
    batches = graph_batches(slots)
    assert batches[-1] == slots
    assert all(next(batch for batch in batches if batch >= count) < 2 * count for count in range(1, slots + 1))


def test_cuda_graphs_are_planned_where_they_are_captured() -> None:
    def graphs(precision: Precision, **options: bool) -> int:
        return plan(80 * GIB, PUBLISHED, precision, 300, 64, **options).parts["graphs"]

    logits = 2 * 4 * 64 * PUBLISHED.vocabulary
    assert graphs(Precision.BF16, paged=True) > logits + 12_000_000 * len(graph_batches(64))
    assert graphs(Precision.INT8, paged=True) == graphs(Precision.BF16) == 0
    assert graphs(Precision.BF16, paged=True, batching=False) == 0


def test_a_plan_says_its_numbers() -> None:
    said = plan(8 * GIB, PUBLISHED, Precision.BF16, 600, 2).explain()
    assert said.startswith("bf16 with chunks of 600 s and slots: 2 takes ")
    assert "weights 16.66" in said
    assert said.endswith("of 8.59 GB")


@given(CARDS, st.floats(MIN_CHUNK, MAX_CHUNK), st.integers(1, 64))
def test_auto_takes_the_best_precision_that_holds_what_is_wanted(vram, seconds, slots) -> None:
    chosen = choose(vram, PUBLISHED, seconds, slots)
    wanted = [plan(vram, PUBLISHED, precision, seconds, slots) for precision in BEST_FIRST]
    if any(one.fits for one in wanted):
        assert chosen == next(one for one in wanted if one.fits)
    elif chosen.slots > 1:
        assert (chosen.fits, chosen.chunk_seconds) == (True, seconds)
        assert not any(plan(vram, PUBLISHED, precision, seconds, chosen.slots + 1).fits for precision in BEST_FIRST)
    if not chosen.fits:
        assert (chosen.precision, chosen.slots) == (Precision.NF4, 1)
        assert chosen.chunk_seconds == min(seconds, MIN_CHUNK)


def test_auto_gives_up_slots_before_length_and_length_at_last() -> None:
    twelve = 12 * GIB
    fewer = choose(twelve, PUBLISHED, 1800, 8)
    assert (fewer.precision, fewer.chunk_seconds, fewer.slots, fewer.fits) == (Precision.NF4, 1800, 1, True)
    shorter = choose(10 * GIB, PUBLISHED, 1800, 8)
    assert (shorter.precision, shorter.slots, shorter.fits) == (Precision.NF4, 1, True)
    assert (ENOUGH_CHUNK < shorter.chunk_seconds < 1800, shorter.saving) == (True, Saving.NONE)
    assert not plan(10 * GIB, PUBLISHED, Precision.NF4, shorter.chunk_seconds + 30, 1).fits
    assert not choose(4 * GIB, PUBLISHED, 1800, 8).fits


# What is done for small cards; their memory is what nvidia-smi was seen to tell, in MiB

MIB = 2**20


@pytest.mark.parametrize(
    ("name", "card", "precision", "saving", "minutes"),
    [
        ("GeForce RTX 2060", 6_144, Precision.NF4, Saving.FP8_CACHE, 5),
        ("GeForce RTX 3070", 8_192, Precision.NF4, Saving.EMBEDDINGS, 10),
        ("GeForce RTX 4060 Laptop", 8_188, Precision.NF4, Saving.EMBEDDINGS, 10),
        ("A100 MIG 1g.10gb", 9_728, Precision.NF4, Saving.NONE, 10),
        ("GeForce RTX 3060", 12_288, Precision.NF4, Saving.NONE, 30),
        ("T4", 15_360, Precision.INT8, Saving.NONE, 30),
        ("GeForce RTX 4080", 16_376, Precision.INT8, Saving.NONE, 30),
        ("L4", 23_034, Precision.BF16, Saving.NONE, 30),
        ("GeForce RTX 4090", 24_564, Precision.BF16, Saving.NONE, 30),
    ],
)
@pytest.mark.parametrize("paged", [True, False])
def test_auto_climbs_on_a_small_card_only_as_far_as_it_must(name, card, precision, saving, minutes, paged) -> None:
    chosen = choose(card * MIB, PUBLISHED, paged=paged)
    assert (chosen.precision, chosen.saving, chosen.fits) == (precision, saving, True)
    assert chosen.chunk_seconds >= 60 * minutes
    if saving:
        cheaper = Saving(saving - 1)
        assert not plan(card * MIB, PUBLISHED, precision, ENOUGH_CHUNK, 1, paged=paged, saving=cheaper).fits


def test_each_saving_takes_less_than_the_one_before_it() -> None:
    plans = [plan(8 * GIB, PUBLISHED, Precision.NF4, 600, 1, paged=True, saving=saving) for saving in Saving]
    assert [one.parts["weights"] / 1e9 for one in plans] == pytest.approx([6.98, 5.89, 4.64, 4.64], abs=0.01)
    assert plans[3].parts["cache"] == plans[0].parts["cache"] / 2
    assert [one.total for one in plans] == sorted((one.total for one in plans), reverse=True)
    assert plans[3].parts["graphs"] == 0  # as keys and values are copied


@pytest.mark.parametrize(("gigabytes", "minutes"), [(8, [0, 13.5, 29, 30]), (6, [0, 0, 2.5, 8])])
def test_the_longest_chunks_on_small_cards_are_those_in_the_documents(gigabytes: int, minutes: list[float]) -> None:
    def fitting(saving: Saving) -> list[float]:
        vram = gigabytes * GIB
        return [one for one in chunk_lengths() if plan(vram, PUBLISHED, Precision.NF4, one, 1, saving=saving).fits]

    assert [max(fitting(saving), default=0) / 60 for saving in Saving] == minutes


def test_a_cpu_one_request_at_a_time_and_quantized_encoders_save_nothing_that_they_cannot() -> None:
    six = 6 * GIB
    assert choose(six, PUBLISHED, on_gpu=False).saving == choose(six, PUBLISHED, batching=False).saving == Saving.NONE
    encoders = replace(PUBLISHED, quantized=(ModelPart.LANGUAGE_MODEL, ModelPart.ACOUSTIC_ENCODER))
    assert choose(six, encoders).saving <= Saving.EMBEDDINGS


def test_what_a_repetition_penalty_remembers_is_planned() -> None:
    assert plan(80 * GIB, PUBLISHED, Precision.BF16, 300, 64).parts["penalty"] == 65 * 152_064


@given(CARDS, PRECISIONS, st.integers(1, 8))
def test_chunks_are_encoded_side_by_side_where_there_are_slots_and_room(vram, precision, slots) -> None:
    chosen = plan(vram, PUBLISHED, precision, 300, slots)
    assert 1 <= chosen.encoder_rows <= slots
    assert chosen.parts["encoder"] <= vram / 32 or (chosen.encoder_rows, chosen.piece_seconds) == (1, 5.0)


@given(CARDS, st.sampled_from(BEST_FIRST), st.sampled_from(COMPARED_CHUNKS))
def test_the_table_holds_the_most_that_fits(vram, precision, seconds) -> None:
    slots = most_slots(vram, PUBLISHED, precision, seconds)
    assert slots == 0 or plan(vram, PUBLISHED, precision, seconds, slots).fits
    assert not plan(vram, PUBLISHED, precision, seconds, slots + 1).fits
    longest = longest_chunk(vram, PUBLISHED, precision, 1)
    assert longest in {0.0, MAX_CHUNK} or not plan(vram, PUBLISHED, precision, longest + 30, 1).fits
    row = next(row for row in table(vram) if row.precision is precision)
    assert row.longest_chunk == longest
    assert row.slots[COMPARED_CHUNKS.index(seconds)] == slots


def test_a_small_checkpoint_fits_everywhere() -> None:
    small = ModelDimensions.from_config(SMALL)
    assert choose(2 * GIB, small, 300, 4).precision is Precision.BF16


def test_a_worker_plans_with_its_share_and_never_with_more_than_is_free() -> None:
    total = 24 * GIB
    assert allowance(total - CUDA_CONTEXT, total, has_context=True) == total
    assert allowance(total, total) == total
    assert allowance(total - CUDA_CONTEXT, total, 0.45, has_context=True) == int(0.45 * total)
    assert allowance(5 * GIB, total, 0.45, has_context=True) == 5 * GIB + CUDA_CONTEXT


@given(CARDS, st.floats(0.01, 0.5))
def test_two_equal_shares_are_never_more_than_the_card(total, share) -> None:
    one = allowance(total, total, share)
    assert one + allowance(total - one, total, share) <= total

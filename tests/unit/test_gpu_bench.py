"""The measurements on a GPU: their arithmetic, and that they run, in a size that says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench import engine_cpu, gpu
from bench.gpu import BATCHED, PADDED, SINGLE, Report, compare
from bench.random_model import TINY, build, config_of
from bench.roofline import (
    CARDS,
    Card,
    Floor,
    Memory,
    Rates,
    Row,
    Work,
    decode_rate,
    encoder_bytes,
    kernel_table,
    known_card,
    roofline,
    step_floor,
    trace_of,
)
from bench.roofline import main as roofline_main
from bench.serving import Clock, Meter, OutOfTimeError, Subject, parts_of, prompts, rates_of, serve
from dropscribe.models.vibevoice import memory_plan, quantize
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.engine import Reference
from dropscribe.models.vibevoice.generation import Generation, Stop
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.runner.attention_choice import SDPA, AttentionChoice

CPU = torch.device("cpu")
H200 = CARDS[0]
WORK = Work(seconds=60, audio=450, prompt=500, answer=360)
ROW = Row("bf16", BATCHED, 16, WORK, encoder=120, rates=Rates(16, 1000, 720), floor=Floor(0.003, 0.001))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model is only slowed down by more
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("NVIDIA H200", 4.8e12),
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA A100-SXM4-80GB", 2.04e12),
        ("NVIDIA L40S", 0.864e12),
        ("NVIDIA GeForce RTX 4090", 1.008e12),
    ],
)
def test_known_cards_are_found_by_their_names(name: str, bandwidth: float) -> None:
    card = known_card(name)
    assert card
    assert card.bandwidth == bandwidth


@pytest.mark.parametrize("name", ["NVIDIA L4", "NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090 Laptop GPU", "Tesla T4"])
def test_other_cards_are_not_taken_for_them(name: str) -> None:
    assert known_card(name) is None


def test_the_floor_of_one_step_is_the_time_to_read_the_weights() -> None:
    floor = step_floor(H200, PUBLISHED, Precision.BF16, 1, 0)
    assert floor.bandwidth == pytest.approx(2 * (6.526e9 + 0.545e9) / 4.8e12, rel=1e-3)
    assert floor.arithmetic == pytest.approx(2 * (6.526e9 + 0.545e9) / 989e12, rel=1e-3)


def test_each_request_adds_its_cache_to_the_floor() -> None:
    one, many = (step_floor(H200, PUBLISHED, Precision.BF16, requests, 3000) for requests in (1, 65))
    assert many.bandwidth - one.bandwidth == pytest.approx(64 * 3000 * 57_344 / 4.8e12)
    assert many.arithmetic == pytest.approx(65 * one.arithmetic)


def test_quantized_weights_lower_the_floor() -> None:
    bf16, int8, nf4 = (step_floor(H200, PUBLISHED, precision, 1, 0).bandwidth for precision in memory_plan.BEST_FIRST)
    assert nf4 < int8 < bf16
    assert int8 * 4.8e12 == pytest.approx(6.526e9 + 2 * 0.545e9, rel=1e-3)


def test_the_encoders_move_0_78_gb_for_a_second_of_audio() -> None:
    assert encoder_bytes(PUBLISHED, Precision.BF16) == pytest.approx(0.777e9, rel=0.01)
    assert encoder_bytes(PUBLISHED, Precision.FP32) == 2 * encoder_bytes(PUBLISHED, Precision.BF16)


@pytest.mark.parametrize(("chunks", "minutes", "rtfx"), [(16, 5, 480), (64, 5, 963), (128, 5, 1155), (64, 15, 620)])
def test_the_roofline_has_encoders_prompts_and_decoding_one_after_the_other(
    chunks: int, minutes: int, rtfx: float
) -> None:
    real = Card("80 % of an H200's bandwidth, 55 % of its arithmetic", 0.8 * 4.8e12, 0.55 * 989e12)
    found = roofline(real, PUBLISHED, Precision.BF16, chunks, Work.of(PUBLISHED, 60 * minutes))
    assert found == pytest.approx(rtfx, rel=0.03)  # reckoned by hand


def test_rooflines_are_printed_by_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert roofline_main(["H200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["H200", "bf16", "5"], ["H200", "bf16", "15"]]
    assert len(lines) == 7


def test_five_minutes_are_so_many_tokens() -> None:
    work = Work.of(PUBLISHED, 300)
    assert (work.audio, work.answer) == (2250, 1800)
    assert work.middle == work.prompt + 900


def test_speed_is_the_audio_over_the_time_of_all_its_parts() -> None:
    assert ROW.parts == {"encoder": 0.5, "prefill": 0.5, "decode": 0.5}
    assert ROW.rtfx == pytest.approx(40)
    assert ROW.step == pytest.approx(16 / 720)
    assert ROW.facts()["rtfx"] == ROW.rtfx


def test_a_row_shows_speed_ratio_and_floors() -> None:
    words = str(replace(ROW, ratio=8.25, roof=160)).split()
    assert words == "bf16 dropscribe 16 16 1 720 40.0 8.25x 25% 22.22 3.00 1.00 - - 0.500 0.500 0.500".split()


@pytest.mark.parametrize(("host", "marked"), [(0.0111, False), (0.0112, True)])
def test_a_row_is_marked_where_the_host_takes_more_of_a_step_than_the_kernels(host: float, marked: bool) -> None:
    row = replace(ROW, rates=replace(ROW.rates, host=host))
    assert f"{22.22 - 1e3 * host:.2f}   {1e3 * host:.2f}" in str(row)
    assert str(row).endswith("  the host is the bound") == row.facts()["host_bound"] == marked


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=20),
    st.floats(1, 200),
)
def test_tokens_are_counted_while_all_requests_write(starts: list[float], rate: float) -> None:
    traces = [[(start, 1), (start + 6, 1 + round(6 * rate))] for start in starts]
    assert decode_rate(traces) == pytest.approx(len(starts) * round(6 * rate) / 6)


def test_what_is_written_while_others_are_read_does_not_count() -> None:
    early = [(0.0, 1), (10.0, 1001), (20.0, 1101)]  # quick as long as it is alone
    late = [(10.0, 1), (20.0, 101)]
    assert decode_rate([early, late]) == pytest.approx(20)


def test_requests_that_never_write_at_once_count_as_a_whole() -> None:
    assert decode_rate([[(0.0, 1), (1.0, 11)], [(1.0, 1), (2.0, 11)]]) == pytest.approx(10)


def test_a_trace_has_both_ends_exactly_and_what_was_heard_between() -> None:
    generation = Generation(tuple(range(9)), Stop.BUDGET, prefill=2.0, decode=4.0)
    heard = [(1.9, 1), (4.0, 5), (6.05, 9)]
    assert trace_of(0.0, generation, heard) == [(2.0, 1), (4.0, 5), (6.0, 9)]


def test_requests_that_were_stopped_too_early_are_no_measurement() -> None:
    with pytest.raises(OutOfTimeError):
        rates_of(0.0, [[(1.0, 1), (2.0, 9)], [(1.5, 1), (1.5, 1)]], 100)


def test_prompts_are_read_until_the_last_first_token() -> None:
    rates = rates_of(1.0, [[(2.0, 1), (5.0, 31)], [(3.0, 1), (5.0, 21)]], 1000)
    assert rates == Rates(2, 500.0, 20.0)


@pytest.mark.parametrize(("measured", "marked"), [(91, False), (109, False), (89, True), (111, True)])
def test_memory_further_than_a_tenth_from_the_plan_is_marked(measured: int, marked: bool) -> None:
    assert ("more than 10% off" in str(Memory("cache", 100, measured))) == marked


def test_memory_is_compared_part_by_part() -> None:
    plan = memory_plan.plan(80 * memory_plan.GIB, PUBLISHED, Precision.BF16, 300, 4, paged=True)
    base = plan.parts["weights"]
    cache = base + plan.parts["cache"] + plan.parts["graphs"]
    prompted = cache + plan.parts["prompts"]
    peak = prompted + plan.parts["attention"] + plan.parts["prefill"]
    assert {part.ratio for part in parts_of(plan, base, cache, prompted, peak, peak)} == {1.0}


def test_kernels_are_listed_by_the_time_they_take_of_a_step() -> None:
    lines = kernel_table({"copy": 0.1, "gemm": 0.4}, steps=10, seconds=1.0)
    assert [line.split(maxsplit=3) for line in lines] == [
        ["40.000", "ms", "40.0%", "gemm"],
        ["10.000", "ms", "10.0%", "copy"],
        ["50.000", "ms", "50.0%", "all kernels"],
        ["100.000", "ms", "100.0%", "a step, as the clock sees it"],
    ]


@pytest.mark.parametrize("geometry", [PUBLISHED, TINY])
def test_the_random_model_has_the_shape_that_is_planned(geometry: ModelDimensions) -> None:
    assert ModelDimensions.from_config(config_of(geometry).to_dict()) == geometry


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8, Precision.NF4])
def test_random_models_are_quantized_where_they_should_be_and_compute(precision: Precision) -> None:
    model = build(TINY, precision, CPU)
    assert len(quantize.quantized_modules(model)) == (0 if precision is Precision.FP32 else 2 * 7)
    with torch.no_grad():
        logits = model(input_ids=torch.arange(12)[None]).logits
    assert torch.isfinite(logits).all()
    assert logits.std() > 0.1


def test_the_random_model_has_as_many_numbers_as_are_planned() -> None:
    model = build(TINY, Precision.FP32, CPU)
    assert sum(parameter.numel() for parameter in model.parameters()) == TINY.parameters
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


@pytest.fixture
def subject() -> Subject:
    model = build(TINY, Precision.FP32, CPU)
    return Subject(model, TINY, Precision.FP32, AttentionChoice(SDPA, ""), memory_plan.GIB, 8, Clock(600), Meter(CPU))


def test_answers_are_as_long_as_they_are_told(subject: Subject) -> None:
    engine = Reference(subject.model, subject.decoding())
    one, other = prompts(subject, Work.of(TINY, 1), 2)
    generation = engine.generate(one, 50, lambda _: True, subject.clock.over)
    assert serve(subject, engine, [one, other], 5).requests == 2
    assert len(generation.tokens) == 50


def test_what_was_measured_before_the_time_was_up_is_kept(subject: Subject, tmp_path: Path) -> None:
    class Last(Report):
        def row(self, row: Row) -> None:
            super().row(row)
            subject.clock.over.set()

    file = tmp_path / "figures.json"
    compare(subject, Last(file, device="CPU"), Card("none", 1e9, 1e9), Work.of(TINY, 3), [1, 2])
    kept = json.loads(file.read_text())
    assert [row["engine"] for row in kept["rows"]] == [SINGLE]
    assert [failure["why"] for failure in kept["failures"]] == ["not measured, the time is up"] * 3


def test_the_measurement_runs_and_tells_the_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    options = "--device cpu --tiny --precision nf4 --chunks 1 3 --minutes 0.05 --steps 6 --profile"
    assert gpu.main([*options.split(), "--json", str(file)]) == 0
    facts = json.loads(file.read_text())
    assert [row["engine"] for row in facts["rows"]] == [SINGLE, BATCHED, BATCHED, PADDED]
    assert all(row["rtfx"] > 0 for row in facts["rows"])
    assert [row["rates"]["host"] is None for row in facts["rows"]] == [True, False, False, True]
    assert [one["of"] for one in facts["kernels"]] == ["nf4, 0.05 min, 3 chunks"]
    out = capsys.readouterr().out
    assert "1.00x" in out
    assert "a step, as the clock sees it" in out


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "finds no CUDA device" in capsys.readouterr().err


def test_the_host_cost_is_printed_beside_the_cached_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    engine_cpu.main(["--requests", "4", "--minutes", "5", "15", "--steps", "5"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [row[:3] for row in rows] == [["4", "5", "13,112"], ["4", "15", "38,312"]]
    assert all(float(row[3]) > 0 for row in rows)


def test_a_host_cost_above_the_bound_or_growing_with_the_cache_is_told() -> None:
    assert not engine_cpu.complaints({(64, 5.0): 0.9e-3, (64, 15.0): 0.99e-3, (128, 5.0): 2e-3})
    assert engine_cpu.complaints({(64, 5.0): 0.9e-3, (64, 15.0): 1.1e-3}) == [
        "64 requests of 15 min: 1.10 ms are above the bound of 1 ms"
    ]
    assert engine_cpu.complaints({(16, 5.0): 0.3e-3, (16, 15.0): 0.6e-3}) == [
        "16 requests of 15 min: 2.0 times the cost of short chunks"
    ]

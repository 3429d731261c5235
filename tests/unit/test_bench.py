"""Each measurement runs, in a size that says nothing, and prints a ratio to its rival."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from bench import __main__ as bench
from bench import speakers
from bench.speakers import average_linkage, words_right
from bench.table import Row, print_rates
from dropscribe.core.types import Segment
from dropscribe.worker.merging.speaker_embeddings import unit

ROOT = Path(__file__).parents[2]
RATIO = re.compile(r"\d\.\d+x$", re.MULTILINE)
TINY = {
    "throughput": ["--recordings", "2", "--chunks", "20", "--messages", "5"],
    "decoding": ["--share", "0.01"],
    "admission": ["--files", "120"],
    "status": ["40", "--runs", "1"],
}


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_measurement_prints_ratios_to_its_rival(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module(f"bench.{name}").main(TINY[name]) == 0
    printed = capsys.readouterr().out
    assert len(RATIO.findall(printed)) >= 2, printed
    assert "1.0" in RATIO.findall(printed)[0]  # the rival itself


@pytest.mark.parametrize("name", bench.OVERHEADS)
def test_every_measurement_of_make_bench_is_a_module_with_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"bench.{name}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"bench.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert f"bench.{name}" in capsys.readouterr().out


def test_an_unknown_measurement_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "bench", "throughtput"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "throughput" in result.stderr


def test_ratios_refer_to_the_first_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_rates("files", [Row("rival", 100, 1.0), Row("ours", 100, 4.0)])
    header, rival, ours = capsys.readouterr().out.strip("\n").splitlines()
    assert "files a second" in header
    assert rival.split() == ["rival", "100.0", "1.000x"]
    assert ours.split() == ["ours", "25.0", "0.250x"]


def test_a_tiny_measurement_of_speakers_counts_them_beside_its_rival(
    speaker_weights: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(speaker_weights / "hub"))
    monkeypatch.setenv("HF_HOME", str(speaker_weights))  # for the long recording, which has a process of its own
    assert speakers.main(["hotel", "--no-words", "--hours", "0.05"]) == 0
    printed = capfd.readouterr().out
    assert re.search(r"hotel +whole +2 of 2", printed), printed
    assert re.search(r"hotel +rival +\d of 2", printed), printed
    assert len(RATIO.findall(printed)) == 2
    assert re.search(r"after linking by voices, .* MB +\d", printed), printed


def test_words_are_right_by_the_best_naming_of_speakers_and_only_those_that_were_said_count() -> None:
    said = tuple(zip("yes i will come to you she said".split(), [0, 0, 0, 0, 1, 1, 1, 1], strict=True))
    told = [Segment(0.0, 1.0, "Yes, I will", 4), Segment(1.0, 2.0, "come to me", 2), Segment(2.0, 3.0, "she uh said")]
    # Nobody said "uh", so eight words count. "Come" is the other's; "she" and "said" have no speaker.
    assert words_right(said, told) == pytest.approx(5 / 8)


def test_average_linkage_joins_while_the_nearest_two_are_within_its_distance() -> None:
    angles = np.radians([0, 20, 90, 110, 40])  # cosines: 0.94 within a pair; 40 degrees to 0 and 20: 0.77, 0.94
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert average_linkage(vectors).tolist() == [0, 0, 1, 1, 0]  # 0-40 and 90-110 are 0.23 alike on average
    assert average_linkage(vectors, 0.9).tolist() == [0, 0, 0, 0, 0]

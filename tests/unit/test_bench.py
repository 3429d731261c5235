"""Each measurement runs, in a size that says nothing, and prints a ratio to its rival."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.table import Row, print_rates

ROOT = Path(__file__).parents[2]
RATIO = re.compile(r"\d\.\d+x$", re.MULTILINE)
TINY = {
    "throughput": ["--recordings", "2", "--chunks", "20", "--messages", "5"],
    "admission": ["--files", "120"],
    "status": ["40"],
}


def run(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_measurement_prints_ratios_to_its_rival(name: str) -> None:
    result = run(f"bench.{name}", *TINY[name])
    assert result.returncode == 0, result.stderr
    assert len(RATIO.findall(result.stdout)) >= 2, result.stdout
    assert "1.0" in RATIO.findall(result.stdout)[0]  # the rival itself


def test_every_measurement_of_make_bench_is_a_module_with_help() -> None:
    for name in bench.OVERHEADS:
        result = run(f"bench.{name}", "--help")
        assert result.returncode == 0, result.stderr
        assert f"bench.{name}" in result.stdout


def test_an_unknown_measurement_is_refused_with_the_known_ones() -> None:
    result = run("bench", "throughtput")
    assert result.returncode == 2
    assert "throughput" in result.stderr


def test_ratios_refer_to_the_first_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_rates("files", [Row("rival", 100, 1.0), Row("ours", 100, 4.0)])
    header, rival, ours = capsys.readouterr().out.strip("\n").splitlines()
    assert "files a second" in header
    assert rival.split() == ["rival", "100.0", "1.000x"]
    assert ours.split() == ["ours", "25.0", "0.250x"]

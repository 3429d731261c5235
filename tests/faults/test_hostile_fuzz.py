"""Broken recordings of every format end in a transcript's audio or one clear sentence, never in anything else."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from tests.faults import fuzz
from tests.faults.shares import REPOSITORY

CASES = 200


def test_two_hundred_broken_recordings_are_decoded_or_refused_in_a_sentence() -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz", "--cases", str(CASES), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{CASES} cases")
    assert " decoded" in done.stdout
    assert " NotMediaError" in done.stdout


def test_a_case_is_the_same_file_each_time_and_not_the_file_that_it_was(tmp_path: Path) -> None:
    whole = fuzz.recordings(tmp_path)
    for case in range(60):
        assert fuzz.broken(whole, 1, case) == fuzz.broken(whole, 1, case)
    changed = [fuzz.broken(whole, 1, case) != whole[case % len(whole)] for case in range(60)]
    assert sum(changed) > 50


def test_every_way_to_break_a_file_changes_it() -> None:
    for way in fuzz.BREAKS:
        data = bytearray(range(256)) * 8
        before = bytes(data)
        for seed in range(5):
            way(data, random.Random(seed))
        assert bytes(data) != before, way


def test_a_decoder_that_fails_in_any_other_way_would_be_noticed(tmp_path: Path) -> None:
    failed = subprocess.CompletedProcess("decoder", 1, b"", b"Traceback ...\nValueError: no")
    assert fuzz._judged(failed, tmp_path) == ("defect", "Traceback ...\nValueError: no")
    crashed = subprocess.CompletedProcess("decoder", -11, b"", b"")
    assert fuzz._judged(crashed, tmp_path)[0] == "crash SIGSEGV"
    vague = subprocess.CompletedProcess("decoder", 0, b'{"error": "NotMediaError", "reason": "no"}', b"")
    assert fuzz._judged(vague, tmp_path)[0] == "unclear"

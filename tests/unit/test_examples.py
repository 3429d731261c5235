"""Examples in docstrings are true: each is run, and gives what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from dropscribe.core.types import Segment, Span, Word
from tests.documents import REPOSITORY

ROOMS = ("core", "store", "scheduler", "worker", "models", "admin", "serve")
WITH_EXAMPLES = sorted(
    path.relative_to(REPOSITORY)
    for room in ROOMS
    for path in (REPOSITORY / room).rglob("*.py")
    if "\n    >>> " in path.read_text(encoding="utf-8")
)
KNOWN = {"Segment": Segment, "Span": Span, "Word": Word}  # which examples need not import


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_the_examples_of_a_module_give_what_they_say(path: Path) -> None:
    module = importlib.import_module(".".join(("dropscribe", *path.with_suffix("").parts)))
    result = doctest.testmod(module, extraglobs=KNOWN)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_dense_algorithms_have_examples() -> None:
    merging = {f"worker/merging/{name}.py" for name in ("alignment", "merge_chunks", "overlaps", "speaker_linking")}
    others = {"worker/chunking.py", "worker/diarizing/clustering.py", "worker/outputs/cues.py"}
    assert merging | others <= set(map(str, WITH_EXAMPLES))

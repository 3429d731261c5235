"""What is printed where packages are missing is a command that works."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from dropscribe.core import installing
from dropscribe.core.installing import how_to_install
from tests.documents import REPOSITORY

NAMED_ON_AN_INDEX = re.compile(r"pip install '?dropscribe\[")


def test_a_checkout_names_itself_its_python_and_its_pinned_versions() -> None:
    python, *command, extra = shlex.split(how_to_install("gpu,onnx"))
    assert Path(python) == Path(sys.executable)
    assert command == ["-m", "pip", "install", "-c", str(REPOSITORY / "constraints.txt"), "-e"]
    assert extra == f"{REPOSITORY}[gpu,onnx]"


def test_elsewhere_it_is_to_be_typed_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "ROOT", tmp_path)
    assert how_to_install("cpu").startswith("in a checkout of dropscribe, ")
    assert how_to_install("cpu").endswith("pip install -c constraints.txt '.[cpu]'")


def test_no_module_and_no_document_has_dropscribe_installed_from_an_index() -> None:
    places = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("deploy/**/*.md")]
    rooms = ("core", "store", "scheduler", "worker", "models", "admin", "serve", "bench")
    places += [path for room in rooms for path in REPOSITORY.joinpath(room).rglob("*.py")]
    assert len(places) > 300
    assert [path for path in places if NAMED_ON_AN_INDEX.search(path.read_text(encoding="utf-8"))] == []

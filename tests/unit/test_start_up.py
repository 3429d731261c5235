"""What a service leaves out when it starts: each of its processes would load it again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dropscribe.core import start_up
from dropscribe.core.store_settings import PREFIX

SCHEDULER = "import dropscribe.scheduler.service"
CPU = "from dropscribe.worker import service, tasks; tasks.of_role('cpu')"
MODEL = "from dropscribe.worker import service, tasks; tasks.of_role('model')"
UP = "import dropscribe.admin.local.up"
WHISPER = "import dropscribe.models.whisper.transcriber"
STORE = "from dropscribe.store.session import Database; Database('sqlite:////tmp/never-opened.db')"
OTHER_STORE = ("alembic", "psycopg", "sqlalchemy.dialects.postgresql")


def loaded_by(code: str) -> set[str]:
    """The modules, with the packages they are in, that a fresh Python has loaded after the code."""
    ask = f"{code}\nimport sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("service", "needed", "left_out"),
    [
        (
            SCHEDULER,
            "dropscribe.scheduler.duties.reconciler",
            ["numpy", "av", "dropscribe.models", "dropscribe.worker"],
        ),
        (
            CPU,
            "dropscribe.worker.finishing.finish",
            ["dropscribe.models.registry", "dropscribe.worker.transcribing", "dropscribe.scheduler"],
        ),
        (
            MODEL,
            "dropscribe.worker.transcribing.transcribe",
            ["av", "dropscribe.worker.preparing", "dropscribe.worker.finishing", "dropscribe.scheduler"],
        ),
        (UP, "dropscribe.models.registry", ["numpy", "av", "celery.worker"]),
        (WHISPER, "faster_whisper", ["torch", "transformers"]),
    ],
    ids=["scheduler", "cpu", "model", "up", "whisper"],
)
def test_a_service_loads_only_what_its_role_needs(service: str, needed: str, left_out: list[str]) -> None:
    loaded = loaded_by(f"{service}\n{STORE}")
    assert needed in loaded
    assert not loaded & {*left_out, *OTHER_STORE}


COMMAND = "from dropscribe.admin.cli.main import main; from dropscribe.admin.context import Context"
OF_SETTINGS = {"pydantic", "dropscribe.core.settings", "dropscribe.scheduler"}
OF_COMMANDS = {"dropscribe.core.types", "dropscribe.admin.cli.commands"}
HEAVY = {"sqlalchemy", "pydantic", "rich", "importlib.metadata", *OF_COMMANDS}


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        ("--version", HEAVY),
        ("status", OF_SETTINGS),
        ("jobs", OF_SETTINGS),
        ("show k3v9", OF_SETTINGS),
        ("voices --help", {"sqlalchemy", "dropscribe.core.settings", "dropscribe.admin.cli.models_commands"}),
    ],
)
def test_a_command_makes_no_other_and_loads_only_what_it_needs(
    arguments: str, left_out: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path))
    loaded = loaded_by(f"{COMMAND}; main({arguments.split()}, Context())")
    assert "dropscribe.admin.cli.main" in loaded
    assert not loaded & left_out


@pytest.mark.parametrize("words", ["", "sta", "status --", "show k3", "drain gpu-"])
def test_a_completion_loads_neither_pydantic_nor_the_store(words: str) -> None:
    asked = {
        "_DROPSCRIBE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"dropscribe {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    loaded = loaded_by(f"import os; os.environ.update({asked}); {COMMAND}; main([], Context())")
    assert loaded & {"status", "--watch", "dropscribe.store.names"}
    assert not loaded & {"pydantic", "sqlalchemy", "rich", *(OF_COMMANDS if " " not in words else ())}


def test_what_is_made_without_collection_is_skipped_by_later_ones() -> None:
    before = gc.get_freeze_count()
    try:
        with start_up.without_collection():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()

"""The command line as a process of its own: imports, pipes, signals, locales."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dropscribe.store.session import Database
from tests.integration.console import admit, done, process
from tests.stores import SQLiteTemplate

HEAVY = (
    "alembic asyncio av celery jinja2 kombu models numpy pydantic redis regex scheduler sqlalchemy ssl torch "
    "transformers watchdog worker"
).split()
MOST_MODULES = 340  # which `status`, `jobs` and `show` load together; each takes half a millisecond

pytestmark = pytest.mark.usefixtures("environment")


def test_a_file_is_not_watched_and_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    ended = process("up", str(tmp_path / "README.md"))
    assert (ended.code, ended.out) == (2, "")
    assert "README.md is a file, not a folder; name its folder" in ended.err


@pytest.mark.parametrize("command", ["watch", "up"])
def test_nothing_starts_without_its_hotwords(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_HOTWORDS", "gone.txt")
    ended = process(command, str(tmp_path))
    assert (ended.code, ended.out) == (2, "")
    assert f"error: cannot read the hotwords file {tmp_path / 'gone.txt'}: No such file" in ended.err
    assert not (tmp_path / "home").exists()


def test_no_terminal_is_given_what_is_no_text(store: Database) -> None:
    job_id = done(store, "a.wav")
    mother, child = os.openpty()
    command = [
        sys.executable,
        "-c",
        "from dropscribe.admin.cli.main import run; run()",
        "transcript",
        job_id,
        "-f",
        "docx",
    ]
    refused = subprocess.run(command, stdout=child, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(child)
    os.close(mother)
    assert refused.returncode == 2
    assert "--output" in refused.stderr


def test_asking_imports_nothing_heavy(sqlite_template: SQLiteTemplate, tmp_path: Path) -> None:
    sqlite_template.copy_to(tmp_path / "home" / "dropscribe.db")
    with closing(Database(f"sqlite:///{tmp_path}/home/dropscribe.db")) as store:
        job_id = done(store, "a.wav")
    code = (
        "import sys; from dropscribe.admin.cli.main import main; from dropscribe.admin.context import Context\n"
        "parts = lambda name: {name, name.rpartition('.')[0], 'dropscribe.models'}\n"
        "of_models = lambda name: name.startswith('dropscribe.models.') and name.endswith(('.settings', '.parts'))\n"
        "light = lambda: set().union(*(parts(name) for name in sys.modules if of_models(name)))\n"
        "names = lambda: sys.modules.keys() - light()\n"
        "rooms = lambda: {name.removeprefix('dropscribe.').partition('.')[0] for name in names()}\n"
        "before = rooms()\n"
        f"asked = ['status'], ['jobs'], ['show', '{job_id}'], ['jobs', '--json']\n"
        "code = sum(main(words, Context()) for words in asked)\n"
        "after = rooms()\n"
        "print(*sorted(before & {'sqlalchemy', 'pydantic', 'rich', 'store'}), sep=',')\n"
        f"print(*sorted(after & set({HEAVY})), sep=',')\n"
        "print(len(sys.modules))\n"
        "sys.exit(code)"
    )
    ended = process(code=code)
    assert ended.code == 0
    assert ended.out.splitlines()[-3:-1] == ["", ""]
    assert int(ended.out.splitlines()[-1]) < MOST_MODULES


def test_a_defect_is_one_line_and_exit_1() -> None:
    code = "from dropscribe.admin.ask import status\nfrom dropscribe.admin.cli import main\ndel status.show\nmain.run()"
    ended = process("status", code=code)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("internal error: AttributeError")
    assert "Traceback" in process("-v", "status", code=code).err


def test_a_reader_that_has_seen_enough_is_no_error(store: Database) -> None:
    for number in range(3):
        admit(store, f"{number}.wav")
    command = [sys.executable, "-c", "from dropscribe.admin.cli.main import run; run()", "jobs", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""


def test_the_status_is_redrawn_until_ctrl_c(store: Database) -> None:
    # As from a terminal: a runner in the background may have handed down that SIGINT is ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from dropscribe.admin.cli.main import run; run()"
    )
    command = [sys.executable, "-c", code, "status", "--watch"]
    environment = os.environ | {"TTY_COMPATIBLE": "1"}  # as on a terminal
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout
        assert running.stderr
        shown = b""
        while shown.count(b"none yet") < 2:
            piece = os.read(running.stdout.fileno(), 4096)
            assert piece
            shown += piece
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_locale_without_unicode_shows_what_it_can(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    admit(store, "日本.wav")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ended = process("jobs")
    assert ended.code == 0
    assert "??.wav" in ended.out

"""A decoder that was taken over gets nothing of its worker, of other recordings or of the network."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from dropscribe.admin.check import checks
from dropscribe.admin.local.supervisor import Supervisor
from dropscribe.core import child_process, landlock
from dropscribe.core.errors import NotMediaError, SandboxError
from dropscribe.core.settings import Settings
from dropscribe.core.zygote import Zygote
from dropscribe.scheduler.scanning import process
from dropscribe.worker import service
from dropscribe.worker.preparing.decode import DecodeLimits, decode, new_zygote
from tests.integration.taken_over import attacks
from tests.media_files import tone, wav

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def goals(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What an attacker wants on the machine of a worker, in a home of its own."""
    home = tmp_path / "home"
    for folder in (home / "spool", home / "scratch" / "work-1"):
        folder.mkdir(parents=True)
    (home / "dropscribe.db").write_bytes(b"every transcript")
    (home / "spool" / "other.flac").write_bytes(b"another recording")
    with socket.socket(socket.AF_UNIX) as redis, socket.create_server(("127.0.0.1", 0)) as server:
        redis.bind(str(home / "r"))
        redis.listen()
        yield {
            "store": str(home / "dropscribe.db"),
            "audio": str(home / "spool" / "other.flac"),
            "scratch": str(home / "scratch" / "work-1"),
            "redis": str(home / "r"),
            "port": str(server.getsockname()[1]),
        }


@pytest.fixture(params=["program", "zygote"])
def is_forked(request: pytest.FixtureRequest) -> bool:
    """Does the decoder come from a zygote?"""
    return bool(request.param == "zygote")


def taken_over(
    goals: dict[str, str], mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_forked: bool
) -> set[str]:
    """Decode a recording with a decoder that it takes over; which attacks succeeded."""
    script = tmp_path / "python"
    command = shlex.join([sys.executable, "-P", "-m", "tests.integration.taken_over", json.dumps(goals)])
    script.write_text(f'#!/bin/sh\nexport PYTHONPATH="$PYTHONPATH:{REPOSITORY}"\nexec {command} "$4"\n')
    script.chmod(0o700)
    monkeypatch.setattr(child_process.sys, "executable", str(script))
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "postgresql://dropscribe:secret@db/dropscribe")
    scratch = Path(goals["scratch"])
    source, target = wav(scratch / "source-1", tone()), Path(goals["audio"]).with_name("own.flac")
    limits = DecodeLimits(max_seconds=60, cpu_seconds=30, sandbox=mode)
    with forking(is_forked) as zygote, pytest.raises(NotMediaError) as refused:
        decode(source, target, limits, label="a", scratch=scratch, zygote=zygote)
    return set(json.loads(str(refused.value).removeprefix("a: ")))


@contextmanager
def forking(is_wanted: bool) -> Iterator[Zygote | None]:
    """A zygote whose children attack, if one is wanted; it must not have been passed over."""
    if not is_wanted:
        yield None
        return
    with closing(new_zygote()) as zygote:
        yield zygote
        assert zygote.pid


def test_a_decoder_that_is_taken_over_gets_nothing(goals, tmp_path, monkeypatch, is_forked):
    assert taken_over(goals, "require", tmp_path, monkeypatch, is_forked=is_forked) == set()
    assert Path(goals["audio"]).read_bytes() == b"another recording"
    assert sorted(os.listdir(Path(goals["store"]).parent)) == ["dropscribe.db", "r", "scratch", "spool"]


def test_without_the_sandbox_it_gets_what_its_worker_has_but_no_secret_in_its_environment(
    goals, tmp_path, monkeypatch, is_forked
):
    refused = set(attacks(goals)) - taken_over(goals, "off", tmp_path, monkeypatch, is_forked=is_forked)
    assert refused == {"find secrets in the environment"}


def ran(code: str, *arguments: str, **environment: str) -> list[str]:
    """The words that Python prints when it runs this code, in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    environ = {**os.environ, **environment}
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.split()


HALF = """
    import os, socket, sys
    from dropscribe.core import landlock, seccomp, system_calls

    def got(attempt):
        try:
            return bool(attempt())
        except OSError:
            return False

    system_calls.prctl(system_calls.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict([], []) if sys.argv[1] == "landlock" else seccomp.restrict()
    print(got(lambda: open("/etc/passwd").read()), got(socket.socket), got(lambda: os.fork() or os._exit(0)))
"""


@pytest.mark.parametrize(("half", "got"), [("landlock", "False True True"), ("seccomp", "True False False")])
def test_each_half_holds_alone_where_a_kernel_lacks_the_other(half, got):
    assert ran(HALF, half) == got.split()


HIDDEN = """
    import ctypes, os
    from pathlib import Path
    from dropscribe.admin.local import up
    from dropscribe.core.errors import DropscribeError
    from dropscribe.core.settings_loading import load
    from dropscribe.scheduler import service as scheduler
    from dropscribe.worker import service as worker

    prctl, (PR_GET_DUMPABLE, PR_SET_DUMPABLE) = ctypes.CDLL(None).prctl, (3, 4)
    for start in (
        lambda: worker.run(load(), "cpu"),
        lambda: worker.run(load(), "model"),
        lambda: scheduler.run(load(), [Path("/")]),
        lambda: up.up([Path("/nowhere")], {}, until_drained=True, as_json=False, awaits=False),
    ):
        prctl(PR_SET_DUMPABLE, 1)
        try:
            start()
        except DropscribeError:
            print(prctl(PR_GET_DUMPABLE))
"""


def test_no_process_that_knows_a_password_can_be_read_by_others_of_its_user(tmp_path):
    nowhere = {"DROPSCRIBE_DATABASE_URL": "postgresql://127.0.0.1:1/none", "DROPSCRIBE_HOME": str(tmp_path)}
    assert ran(HIDDEN, DROPSCRIBE_SPEECH_DETECTOR="energy", DROPSCRIBE_ENGINE="scripted", **nowhere) == ["0"] * 4


OTHERS = """
    import os
    from dropscribe.core import sandbox, system_calls

    if not os.getuid():
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        system_calls.prctl(system_calls.PR_SET_DUMPABLE, 1)  # as a program that this account starts
    for hide in (lambda: None, sandbox.hide):
        hide()
        if os.fork() == 0:
            print(os.access(f"/proc/{os.getppid()}/mem", os.R_OK), flush=True)
            os._exit(0)
        os.wait()
"""


def test_a_hidden_process_shows_its_memory_to_no_other_of_its_user():
    assert ran(OTHERS) == ["True", "False"]


def test_programs_that_workers_start_get_no_secret_and_scanners_no_privileges(tmp_path, monkeypatch):
    monkeypatch.setenv("DROPSCRIBE_WEBHOOK_SECRET", "s3cret")
    supervisor = Supervisor(tmp_path, {"DROPSCRIBE_DATABASE_URL": "postgresql://u:s3cret@db/x"}, lambda _: True)
    child = supervisor.start("redis", "exec", "env")
    assert child.wait()
    assert "PATH=" in (tmp_path / "redis.log").read_text()
    assert "s3cret" not in (tmp_path / "redis.log").read_text()
    scanning = process.ScanProcess(tmp_path)
    try:
        assert "s3cret" not in Path(f"/proc/{scanning.pid}/environ").read_text()
        scanning.ask({"do": "place", "path": str(tmp_path)}, lambda _: None, process.Wait(60, threading.Event()))
        assert "NoNewPrivs:\t1\n" in Path(f"/proc/{scanning.pid}/status").read_text()
    finally:
        scanning.kill()


def test_a_worker_that_must_close_decoders_off_does_not_start_where_it_cannot(monkeypatch):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    found = checks.closed_off(Settings())
    assert (found.level, "Landlock" in found.finding) == ("warn", True)
    assert checks.closed_off(Settings(sandbox="require")).level == "fail"
    with pytest.raises(SandboxError, match="the kernel lacks Landlock"):
        service.run(Settings(sandbox="require"), "cpu")


def test_a_sandbox_that_is_off_is_told_by_the_doctor():
    assert checks.closed_off(Settings(sandbox="off")).level == "warn"

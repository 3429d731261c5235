"""What dropscribe keeps for itself is closed to others, and no folder of others is taken for ours."""

from __future__ import annotations

import os
import pwd
from functools import partial
from pathlib import Path

import pytest

from dropscribe.admin.check import checks
from dropscribe.admin.check.checks import Severity
from dropscribe.admin.local import private_redis
from dropscribe.core import private_state, queue
from dropscribe.core.errors import BrokerError, SettingsError
from dropscribe.core.settings import Settings
from tests.accounts import OWNER, STRANGER, WORKER, shared_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    made.chmod(0o755)
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("content", [[], ["dropscribe.db", "notes.txt"]], ids=["empty", "ours"])
def test_a_state_directory_that_others_can_read_is_closed_and_what_is_made_is_private(
    home: Path, content: list[str]
) -> None:
    for name in content:
        (home / name).touch()
    assert checks.private(home).level is Severity.WARN
    private_state.keep(home)
    assert mode(home) == 0o700
    assert checks.private(home).level is Severity.OK
    (home / "new").touch()
    assert mode(home / "new") == 0o600


def test_a_directory_that_was_named_by_mistake_is_left_alone(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "recordings").mkdir()
    private_state.keep(home)
    assert mode(home) == 0o755
    assert "chmod 700" in caplog.text


@pytest.mark.parametrize(
    ("content", "mode_after"),
    [([], 0o755), (["notes.txt"], 0o755), (["dropscribe.db"], 0o700)],
    ids=["empty", "somebody's", "ours"],
)
def test_the_home_of_an_account_is_closed_once_it_holds_our_state(
    content: list[str], mode_after: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = pwd.struct_passwd(("dropscribe", "x", os.geteuid(), os.getegid(), "", str(home), "/bin/sh"))
    monkeypatch.setattr(private_state.pwd, "getpwuid", lambda _: account)
    for name in content:
        (home / name).touch()
    private_state.keep(home)
    assert mode(home) == mode_after


@as_root
@pytest.mark.parametrize("content", [[], ["dropscribe.db"]], ids=["empty", "ours"])
def test_an_account_without_an_entry_closes_its_state_directory_too(content: list[str]) -> None:
    with shared_folder() as top:
        (top / "home").mkdir()
        for name in content:
            (top / "home" / name).touch()
        WORKER.owns(top / "home", 0o755)
        WORKER.does(partial(private_state.keep, top / "home"))
        assert mode(top / "home") == 0o700


@as_root
def test_a_state_directory_of_somebody_else_is_refused() -> None:
    with shared_folder() as top:
        (top / "home").mkdir()
        OWNER.owns(top / "home", 0o755)
        with pytest.raises(SettingsError, match=f"belongs to account {OWNER.uid}"):
            WORKER.does(partial(private_state.keep, top / "home"))


@as_root
@pytest.mark.parametrize("trap", ["folder", "link", "open"])
def test_a_socket_goes_into_no_folder_that_somebody_else_made(
    trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue.tempfile, "gettempdir", lambda: str(tmp_path))
    settings = Settings(home=tmp_path / ("x" * 120))
    folder = queue.socket_path(settings).parent
    if trap == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        (STRANGER if trap == "folder" else OWNER).owns(folder, 0o777 if trap == "open" else 0o700)
    with pytest.raises(BrokerError, match="somebody else made it"):
        private_redis.server_command(settings)
    with pytest.raises(BrokerError, match="somebody else made it"):
        queue.redis_url(settings)

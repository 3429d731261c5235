"""A settings file where one happens to stand is believed only if nobody else can have written it."""

from __future__ import annotations

import os
import pwd
from functools import partial
from pathlib import Path

import pytest

from dropscribe.core import access, reserved_names, settings_file
from dropscribe.core.reserved_names import OWNER
from dropscribe.core.settings_loading import load
from dropscribe.scheduler.scanning import folder_files
from tests.accounts import CLINIC, STRANGER, WORKER, Account, shared_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a file that says which engine runs."""
    place = tmp_path / "drop"
    place.mkdir(mode=0o755)
    monkeypatch.chdir(place)
    (place / "dropscribe.toml").write_text('engine = "scripted"\n')
    (place / "dropscribe.toml").chmod(0o644)
    return place


def engine(folder: Path, *watched: Path, **environ: str) -> tuple[str, str]:
    settings = load({"DROPSCRIBE_HOME": str(folder / "home"), **environ}, watched=watched)
    return settings.engine, " ".join(settings.remarks)


def test_a_file_of_this_user_in_a_folder_of_this_user_is_read_and_told(folder):
    assert engine(folder) == ("scripted", "")
    assert load({}).file == folder / "dropscribe.toml"


@pytest.mark.parametrize("place", ["dropscribe.toml", "."])
@pytest.mark.parametrize("mode", [0o757, 0o775])
def test_one_that_others_may_write_is_not_read(folder, place, mode):
    os.chown(folder / place, os.geteuid(), 12345 if os.geteuid() == 0 else os.getegid())
    (folder / place).chmod(mode)
    found, remarks = engine(folder)
    assert (found, "others may write to" in remarks) == ("auto", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("place", ["dropscribe.toml", "."])
def test_one_of_somebody_else_or_in_a_folder_of_somebody_else_is_not_read(folder, place):
    os.chown(folder / place, 12345, 12345)
    found, remarks = engine(folder)
    assert (found, "belongs to somebody else" in remarks) == ("auto", True)


def test_a_link_is_judged_by_what_it_leads_to(folder, tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (folder / "dropscribe.toml").replace(open_to_all / "theirs.toml")
    (folder / "dropscribe.toml").symlink_to(open_to_all / "theirs.toml")
    assert "others may write to" in engine(folder)[1]


def test_none_is_read_below_a_watched_folder(folder, tmp_path):
    assert engine(folder, tmp_path)[0] == "auto"
    assert engine(folder, folder)[0] == "auto"
    (tmp_path / OWNER).touch()
    found, remarks = engine(folder)
    assert found == "auto"
    assert remarks.startswith(
        f"{folder}/dropscribe.toml is not read: it lies in a watched folder; name it in DROPSCRIBE"
    )


def test_one_that_is_named_is_read_wherever_it_lies(folder):
    assert engine(folder, folder, DROPSCRIBE_CONFIG="dropscribe.toml")[0] == "scripted"


def test_the_group_of_one_user_is_no_stranger():
    assert not access._is_ours_alone(12345)
    assert access._is_ours_alone(pwd.getpwuid(os.geteuid()).pw_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is surely alone in its group")
@pytest.mark.parametrize("place", ["dropscribe.toml", "."])
def test_one_with_an_acl_by_which_another_user_may_write_is_not_read(folder, place):
    assert engine(folder) == ("scripted", "")
    letting = access.Access(0, 0, access.ALL, access.READ, access.READ, users=((STRANGER.uid, access.ALL),))
    os.setxattr(folder / place, access.ACL, access._acl(letting))
    found, remarks = engine(folder)
    assert (found, "others may write to" in remarks) == ("auto", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")
def test_settings_of_a_folder_that_a_group_of_several_may_write_are_not_the_operators_own():
    name = reserved_names.SETTINGS
    with shared_folder() as top:
        top.chmod(0o755)
        (top / name).write_text("")
        authors = {}
        for mode in (0o644, 0o664):
            os.chown(top / name, 0, CLINIC)
            (top / name).chmod(mode)
            authors[mode] = Account(WORKER.uid, CLINIC).does(partial(folder_files.read_settings, str(top), "")).author
    assert authors == {0o644: "operator", 0o664: "shared"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is surely alone in its group")
def test_settings_of_a_folder_in_the_users_own_group_are_the_operators_unless_an_acl_names_another(tmp_path):
    file = tmp_path / reserved_names.SETTINGS
    file.write_text("")
    file.chmod(0o664)
    assert folder_files.read_settings(str(tmp_path), "").author == "operator"
    letting = access.Access(0, 0, 6, 4, 4, users=((STRANGER.uid, 6),))
    os.setxattr(file, access.ACL, access._acl(letting))
    assert folder_files.read_settings(str(tmp_path), "").author == "shared"


def test_a_filesystem_without_owners_proves_nothing(folder, monkeypatch):
    monkeypatch.setattr(settings_file, "filesystem_of", lambda _: "cifs")
    assert "does not show who wrote it" in engine(folder)[1]

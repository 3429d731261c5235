"""Whom a final state is told by e-mail and which command runs then: by the operator's tables alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.core import folder_settings, mail_settings, on_done
from dropscribe.core.errors import SettingsError
from dropscribe.core.folder_settings import SettingsFilePlace, tables
from dropscribe.core.mail_settings import Mail
from dropscribe.core.settings_loading import load, origins

COPY = ["/bin/cp", "{srt}", "/srv/subtitles"]


def settings(tmp_path: Path, text: str):
    (tmp_path / "dropscribe.toml").write_text(text)
    return load({"DROPSCRIBE_CONFIG": str(tmp_path / "dropscribe.toml")})


def test_the_nearest_table_above_a_recording_names_its_command():
    folders = {"/rec": {"on_done": COPY}, "/rec/hr": {"on_done": []}, "/rec/hr/open": {"on_done": ["/bin/true"]}}
    assert on_done.command(folders, "/rec/talk.wav") == tuple(COPY)
    assert on_done.command(folders, "/rec/hr/talk.wav") == ()
    assert on_done.command(folders, "/rec/hr/open/talk.wav") == ("/bin/true",)
    assert on_done.command(folders, "/records/talk.wav") == ()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('on_done = "cp {srt} /srv"', 'must be a list: ["command", "{json}"]'),
        ('on_done = ["cp", 1]', "must be a list"),
        ('on_done = ["cp", "{mp3}"]', "{mp3} is not known; known are json, txt"),
        ('mail = "a@b.example"', "a folder may set states and to"),
        ('mail = {server = "smtp://other.example"}', "a folder may set states and to"),
        ('mail = {to = ["nobody"]}', "must be an address such as name@example.org"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_before_anything_starts(tmp_path, said, why):
    with pytest.raises(SettingsError) as found:
        tables(settings(tmp_path, f'[folders."/rec"]\n{said}\n'), Path("/rec"))
    assert why in str(found.value)
    assert '[folders."/rec"' in str(found.value)


@pytest.mark.parametrize("said", ['on_done = ["/bin/sh"]', 'mail = {to = ["thief@a.example"]}'])
def test_no_file_on_a_share_can_name_either_whoever_wrote_it_and_no_table_can_allow_it(tmp_path, said):
    with pytest.raises(SettingsError, match="unknown key"):
        folder_settings.read(said, None, SettingsFilePlace(Path("/rec")))
    key = said.partition(" ")[0]
    with pytest.raises(SettingsError, match="allow is a list of keys"):
        tables(settings(tmp_path, f'[folders."/rec"]\nallow = ["{key}"]\n'), Path("/rec"))


def test_a_value_is_one_word_whatever_stands_in_it():
    words = on_done.filled(("/bin/cp", "{srt}", "x{state}"), {"srt": "/rec/a; rm -rf {json}.srt", "state": "done"})
    assert words == ["/bin/cp", "/rec/a; rm -rf {json}.srt", "xdone"]


@pytest.mark.parametrize(
    "server", ["mail.example", "http://mail.example", "smtp://", "smtp://me@mail.example", "smtp://a:x"]
)
def test_a_server_is_an_address_without_a_user(server):
    with pytest.raises(SettingsError, match="must be smtp://HOST:PORT or smtps://HOST:PORT"):
        load({"DROPSCRIBE_MAIL_SERVER": server})


def test_the_password_is_never_shown():
    environment = {"DROPSCRIBE_MAIL_PASSWORD": "secret", "DROPSCRIBE_MAIL_TO": "a@b.example, c@d.example"}
    found = load(environment)
    assert found.of(Mail).to == ("a@b.example", "c@d.example")
    assert "secret" not in {origin.value for origin in origins(found, environment)}


def test_a_folder_without_a_table_adds_nothing():
    assert mail_settings.of_folder("/rec", {}) == {}

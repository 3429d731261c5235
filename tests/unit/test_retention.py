"""What is kept for how long: the group `[retention]` and the tables of folders, of which the nearest above counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.core import folder_settings
from dropscribe.core.errors import SettingsError
from dropscribe.core.retention import Kept, Retention, RetentionRule, rules
from dropscribe.core.settings_loading import load


def test_without_settings_all_is_kept() -> None:
    assert rules(Retention(), {"/rec/hr": {"outputs": ["txt"]}}) == []


def test_each_time_is_one_of_its_own() -> None:
    found = rules(Retention(text="30d", history="52w", requests="1h"), {})
    assert [(rule.kept, rule.seconds, rule.why) for rule in found] == [
        (Kept.TEXT, 30 * 86_400, "retention.text = 30d"),
        (Kept.HISTORY, 364 * 86_400, "retention.history = 52w"),
        (Kept.REQUESTS, 3600, "retention.requests = 1h"),
    ]


def test_the_nearest_folder_above_counts_and_an_empty_time_keeps() -> None:
    folders = {
        "/rec/hr/": {"retention": {"text": "7d"}},
        "/rec/hr/court": {"retention": {"text": ""}},
        "/rec/press": {"retention": {"history": "1d"}},
    }
    assert rules(Retention(text="30d"), folders) == [
        RetentionRule(Kept.TEXT, "30d", "", ("/rec/hr", "/rec/hr/court")),
        RetentionRule(Kept.TEXT, "7d", "/rec/hr", ("/rec/hr/court",)),
        RetentionRule(Kept.HISTORY, "1d", "/rec/press"),
    ]


@pytest.mark.parametrize("wrong", ["soon", "30", "0d", "59s", "-1d"])
def test_what_is_no_time_or_less_than_a_minute_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"DROPSCRIBE_RETENTION_TEXT = .*(minute|write a number)"):
        load({"DROPSCRIBE_RETENTION_TEXT": wrong})


def test_the_file_has_a_table_for_it_and_for_that_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "dropscribe.toml"
    file.write_text('[retention]\ntext = "30d"\n[folders."/rec/hr".retention]\ntext = "7d"\n')
    settings = load({"DROPSCRIBE_CONFIG": str(file)})
    assert [rule.why for rule in rules(settings.of(Retention), settings.folders)] == [
        "retention.text = 30d",
        "retention.text = 7d of /rec/hr",
    ]
    assert folder_settings.tables(settings, Path("/rec"))["hr/"].given == {}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[folders."/rec/hr".retention]\ntext = "soon"', r'text in \[folders."/rec/hr".retention\] = \'soon\''),
        ('[folders."/rec/hr".retention]\ntxt = "7d"', "txt"),
        ('[folders."/rec/hr"]\nretention = "7d"', "retention is a table"),
    ],
)
def test_a_table_of_a_folder_that_makes_no_sense_is_refused(table: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "dropscribe.toml"
    file.write_text(table)
    settings = load({"DROPSCRIBE_CONFIG": str(file)})
    with pytest.raises(SettingsError, match=words):
        rules(settings.of(Retention), settings.folders)
    with pytest.raises(SettingsError, match=words):
        folder_settings.tables(settings, Path("/rec"))


def test_a_file_on_the_share_says_nothing_of_it(tmp_path: Path) -> None:
    place = folder_settings.SettingsFilePlace(tmp_path)
    with pytest.raises(SettingsError, match="unknown key retention"):
        folder_settings.read('retention = {text = "1h"}', None, place)


def test_it_shapes_no_transcript() -> None:
    assert load({"DROPSCRIBE_RETENTION_TEXT": "30d"}).digest() == load({}).digest()

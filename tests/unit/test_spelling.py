"""Files of a filesystem that takes names which differ in case only for the same keep one spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.scheduler.scanning.folder_files import SettingsFile
from dropscribe.scheduler.scanning.roots import folds_case
from dropscribe.scheduler.scanning.scan import Observation, Scan
from dropscribe.scheduler.watching.spelling import Spellings, with_archive

SEEN = Observation(1, 1)


def scanned(*paths: str, settings: tuple[str, ...] = ()) -> Scan:
    stamps = {path: number for number, path in enumerate(paths)}
    files = dict.fromkeys(paths, SEEN)
    return Scan(files, 0, 0, {}, 1, 0.0, {folder: SettingsFile(folder) for folder in settings}, stamps=stamps)


@pytest.mark.parametrize(
    ("there", "ours"),
    [
        ("Done/a.wav", "done/a.wav"),
        ("Talks/FAILED/A.wav", "Talks/failed/A.wav"),
        ("DONE/", "done/"),
        ("Done.wav", "Done.wav"),
        ("Done2/a.wav", "Done2/a.wav"),
    ],
)
def test_only_the_folders_of_archives_are_spelled_as_ours(there: str, ours: str) -> None:
    assert with_archive(there) == ours


def test_a_name_in_another_case_stays_the_one_that_was_seen_first() -> None:
    spellings = Spellings(["talk.wav", "Talk.wav"])
    assert [*spellings.of(scanned("TALK.wav", "new.wav")).files] == ["Talk.wav", "new.wav"]
    assert [*spellings.of(scanned("talk.WAV", "New.wav")).files] == ["Talk.wav", "new.wav"]


def test_two_names_that_are_both_there_are_two_files() -> None:
    assert [*Spellings(["a.wav"]).of(scanned("A.wav", "a.wav")).stamps] == ["A.wav", "a.wav"]


def test_a_folder_that_was_renamed_in_case_keeps_its_settings() -> None:
    found = Spellings(["talks/day/a.wav"]).of(scanned("Talks/Day/a.wav", settings=("Talks/", "Talks/Day/", "Other/")))
    assert [*found.files] == ["talks/day/a.wav"]
    assert {folder: file.text for folder, file in found.settings.items()} == {
        "talks/": "Talks/",
        "talks/day/": "Talks/Day/",
        "Other/": "Other/",
    }


def test_a_filesystem_that_tells_names_apart_by_case_is_known_without_writing(tmp_path: Path) -> None:
    assert not folds_case(tmp_path)
    for name in ("a.wav", "A.WAV", "Done"):
        (tmp_path / name).touch()
    before = tmp_path.stat().st_mtime_ns
    assert not folds_case(tmp_path)
    assert tmp_path.stat().st_mtime_ns == before

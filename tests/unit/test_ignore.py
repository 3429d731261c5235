"""Which names are recordings."""

from __future__ import annotations

import pytest

from dropscribe.core.settings import OUTPUT_FORMATS
from dropscribe.scheduler.scanning.ignore import MEDIA_EXTENSIONS, TRANSCRIPTS, NameKind, classify, ignored_directory


@pytest.mark.parametrize("extension", sorted(MEDIA_EXTENSIONS))
def test_every_media_extension_is_admitted_in_any_case(extension: str) -> None:
    assert classify(f"talk.{extension}") is NameKind.ADMIT
    assert classify(f"TALK.{extension.upper()}") is NameKind.ADMIT


@pytest.mark.parametrize("name", ["talk.ts", "00001.MTS"])
def test_endings_that_typescript_has_too_are_left_to_the_head_of_the_file(name: str) -> None:
    assert classify(name) is NameKind.ADMIT_BY_HEAD


@pytest.mark.parametrize(
    "name",
    [
        "Müller, 3. Sitzung (final).wav",
        "a.part.wav",
        "no~tilde.mp3",
        "~.wav",
        "tmp.wav",
        "undecodable-\udcff.flac",
    ],
)
def test_unusual_but_sound_names_are_admitted(name: str) -> None:
    assert classify(name) is NameKind.ADMIT


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.wav",
        ".wav",
        "._talk.wav",
        "talk.wav.part",
        "talk.wav.partial",
        "talk.wav.filepart",
        "talk.wav.tmp",
        "talk.wav.TMP",
        "Unconfirmed 1.crdownload",
        "talk.wav.download",
        "talk.wav~",
        "~$talk.wav",
        ".syncthing.talk.wav.tmp",
        ".nfs000000000001.wav",
        ".fuse_hidden0001.wav",
        ".dropscribe-talk.1.tmp",
    ],
)
def test_unfinished_and_hidden_files_are_never_admitted(name: str) -> None:
    assert classify(name) is NameKind.IGNORED_PATTERN


@pytest.mark.parametrize("name", ["talk.json", "talk.srt", "wav", "talk", "part", "talk.wav.txt", "talk.", ""])
def test_other_files_are_not_media(name: str) -> None:
    assert classify(name) is NameKind.NOT_MEDIA


@pytest.mark.parametrize(
    "name",
    [
        ".git",
        ".stfolder",
        ".stversions",
        "@eaDir",
        "#recycle",
        "#snapshot",
        ".Trash-1000",
        "$RECYCLE.BIN",
        "$Recycle.Bin",
        "lost+found",
        "System Volume Information",
    ],
)
def test_hidden_and_system_directories_are_not_entered(name: str) -> None:
    assert ignored_directory(name)


@pytest.mark.parametrize("name", ["2026", "interviews.part", "recycle", "snapshot", "~old"])
def test_other_directories_are_entered(name: str) -> None:
    assert not ignored_directory(name)


def test_every_output_format_is_known_as_a_transcript() -> None:
    assert {f".{one}" for one in OUTPUT_FORMATS} == set(TRANSCRIPTS)

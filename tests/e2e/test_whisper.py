"""The samples and the real recordings go the whole way once, by the engine that a machine without a GPU gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SAMPLES
from tests.e2e.heard import Heard, recordings

# A minute and more of sound goes through a recognizer that may have a fraction of a core.
pytestmark = pytest.mark.timeout(600)


def text_of(document: dict[str, Any]) -> str:
    return " ".join(segment["text"] for segment in document["segments"])


def test_the_samples_are_recognized_for_real(heard: Heard) -> None:
    assert heard.ran.returncode == 0, heard.ran.stdout
    assert "Whisper base on the CPU: about one word in ten wrong in conversation" in heard.ran.stdout
    samples = recordings(SAMPLES)
    assert len(samples) >= 3
    for document in (heard.documents[path.stem] for path in samples):
        assert (document["engine"]["engine"], document["engine"]["precision"]) == ("whisper", "int8")
        assert document["engine"]["model"] == "Systran/faster-whisper-base@ebe41f70"
        assert "about one word in ten wrong" in document["engine"]["notice"]
        assert len(text_of(document).split()) > 5


def test_the_real_recordings_are_all_done(heard: Heard, audio: Path) -> None:
    assert heard.ran.returncode == 0, heard.ran.stdout
    assert heard.documents.keys() == {path.stem for folder in (audio, SAMPLES) for path in recordings(folder)}
    texts = {stem: text_of(document) for stem, document in heard.documents.items()}
    assert all(texts.values()), texts
    assert {stem for stem, document in heard.documents.items() if document["language"] != "en"} == {"french"}
    assert heard.documents["french"]["language"] == "fr"
    assert "un podcast" in texts["french"], "it is not translated"
    assert "country can do for you" in texts["jfk"]


def test_what_up_has_read_is_known_to_whoever_submits_it_again(heard: Heard) -> None:
    recording = heard.machine.inbox / min(recordings(SAMPLES)).name
    assert "is known already" in heard.machine.run("submit", str(recording)).stderr

"""The word error rate over a folder of transcripts, and what it makes of missing or broken ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import jiwer
import pytest

from bench import wer


@dataclass(frozen=True)
class Folders:
    root: Path

    def add(self, name: str, reference: str, *said: str, kind: str = "speech") -> None:
        for folder in ("references", "transcripts"):
            (self.root / folder).mkdir(exist_ok=True)
        (self.root / "references" / f"{name}.txt").write_text(reference, encoding="utf-8")
        segments = [{"text": text, "kind": kind} for text in said]
        self.transcript(name).write_text(json.dumps({"segments": segments}), encoding="utf-8")

    def transcript(self, name: str) -> Path:
        return self.root / "transcripts" / f"{name}.json"

    def run(self, *options: str) -> int:
        return wer.main([str(self.root / "transcripts"), "--references", str(self.root / "references"), *options])


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_case_and_punctuation_do_not_count(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folders.add(
        "one",
        "Don't ask - not what\nyour country, 'can' do?",
        "don\N{RIGHT SINGLE QUOTATION MARK}t ask not what",
        "your country can do",
    )
    assert folders.run("--max", "0") == 0
    assert "one            8     0.0" in capsys.readouterr().out


def test_errors_are_counted_as_others_count_them() -> None:
    random = Random(7)
    for _ in range(200):
        expected, said = (random.choices("abcd", k=random.randint(1, 9)) for _ in range(2))
        counts = jiwer.process_words(" ".join(expected), " ".join(said))
        assert wer.errors(expected, said) == counts.substitutions + counts.deletions + counts.insertions


def test_numbers_are_left_as_they_are(folders: Folders) -> None:
    folders.add("one", "chapter 12", "chapter twelve")
    assert folders.run("--max", "49") == 1


def test_every_kind_of_error_counts_over_all_words(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folders.add("changed", "a b c d", "a b x d")
    folders.add("lost", "a b c d", "a b c")
    folders.add("more", "a b", "a b c")
    assert folders.run("--max", "30") == 0
    assert folders.run("--max", "29.9") == 1
    assert "total         10    30.0" in capsys.readouterr().out


def test_sounds_are_no_words(folders: Folders) -> None:
    folders.add("music", "a b", "[Music]", kind="event")
    assert wer.read_transcript(folders.transcript("music")) == ""
    assert folders.run("--max", "100") == 0


def test_a_reference_without_a_transcript_fails_whatever_the_limit(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.add("here", "a b", "a b")
    folders.add("gone", "a b")
    folders.transcript("gone").unlink()
    assert folders.run("--max", "100") == 1
    assert "gone           2    none" in capsys.readouterr().out


def test_a_transcript_without_a_reference_does_not_matter(folders: Folders) -> None:
    folders.add("one", "a b", "a b")
    folders.transcript("two").write_text("not even JSON", encoding="utf-8")
    assert folders.run() == 0


def test_the_language_and_the_confidence_are_shown_with_a_reference_and_without(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.add("one", "a b", "a b")
    segments = [
        {"start": 0, "end": 9, "text": "a b", "confidence": 0.9},
        {"start": 9, "end": 10, "text": "c", "confidence": 0.4},
    ]
    for name in ("one", "two"):
        content = json.dumps({"language": "fr", "segments": segments})
        folders.transcript(name).write_text(content, encoding="utf-8")
    assert folders.run("--max", "50") == 0
    told = capsys.readouterr().out
    assert "one            2    50.0  fr              0.85" in told
    assert "two            -       -  fr              0.85" in told
    assert "total          2    50.0" in told


def test_references_may_lie_in_several_folders_and_be_documents_with_segments(
    folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.add("one", "a b", "a b")
    folders.add("two", "", "c", "d")
    (folders.root / "references" / "two.txt").unlink()
    (folders.root / "more").mkdir()
    told = json.dumps({"segments": [{"text": "C, d!"}]})
    (folders.root / "more" / "two.json").write_text(told, encoding="utf-8")
    assert folders.run("--max", "0", "--references", str(folders.root / "more")) == 0
    assert "total          4     0.0" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"segments": [1]}', '{"segments": [{"kind": "speech"}]}'])
def test_a_broken_transcript_is_named(folders: Folders, capsys: pytest.CaptureFixture[str], content: str) -> None:
    folders.add("one", "a b")
    folders.transcript("one").write_text(content, encoding="utf-8")
    assert folders.run() == 2
    assert "one.json is not a transcript written by dropscribe" in capsys.readouterr().err


def test_a_folder_without_references_is_a_mistake(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    assert folders.run() == 2
    assert "--references" in capsys.readouterr().err


def test_an_empty_reference_is_a_mistake(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folders.add("one", " -- \n", "a")
    assert folders.run() == 2
    assert "has no words" in capsys.readouterr().err


def test_each_sample_has_its_reference() -> None:
    samples = {
        path.stem for path in wer.REFERENCES.parent.iterdir() if path.suffix in {".wav", ".mp3", ".flac", ".m4a"}
    }
    assert samples == {path.stem for path in wer.REFERENCES.glob("*.txt")}
    assert len(samples) == 4

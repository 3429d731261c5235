"""Word error rate of transcripts against references: `python -m bench.wer TRANSCRIPTS_DIR`.

Compares `NAME.json`, as dropscribe writes it, with `NAME.txt` (or `NAME.json`, with segments) in the folders of
references: both in lower case and without punctuation, numbers as they stand. The table also says which language was
found, and the confidence, of transcripts without a reference too. Exits with 1 when the total is above `--max` percent
or a reference has no transcript, with 2 when a file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dropscribe.core import confidence
from dropscribe.core.types import Segment

REFERENCES = Path(__file__).parent.parent / "samples" / "references"


@dataclass(frozen=True, slots=True)
class Score:
    """How one recording was read: words of the reference, and words wrong, missing or too many.

    `errors` is None where there is no transcript, `words` 0 where there is no reference. `language` and `confidence`
    are those of the transcript, empty and None where the model does not tell.
    """

    name: str
    words: int
    errors: int | None
    language: str = ""
    confidence: float | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Score every reference and print a table; returns the exit code."""
    options = _parser().parse_args(arguments)
    folders = options.references or [REFERENCES]
    references = sorted(path for folder in folders for path in folder.glob("*") if path.suffix in {".txt", ".json"})
    if not references:
        names = ", ".join(map(str, folders))
        sys.stderr.write(f"no references (NAME.txt) in {names}; name their folder by --references\n")
        return 2
    try:
        scores = [score(reference, options.transcripts) for reference in references]
        scores += unscored(options.transcripts, {reference.stem for reference in references})
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(table(scores) + "\n")
    complete = all(one.errors is not None for one in scores)
    return 0 if complete and total(scores) <= options.max else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.wer", description="Word error rate of transcripts.")
    parser.add_argument("transcripts", type=Path, help="folder of transcripts, NAME.json")
    parser.add_argument(
        "--references",
        type=Path,
        action="append",
        help="folder of references, NAME.txt or NAME.json; may be given again; default: the samples'",
    )
    parser.add_argument("--max", type=float, default=10.0, help="highest total in percent; default: %(default)s")
    return parser


def score(reference: Path, transcripts: Path) -> Score:
    """Compare one reference with its transcript. Raises ValueError when either is unusable."""
    expected = normalize(read_reference(reference))
    if not expected:
        raise ValueError(f"{reference} has no words; write down what is said, or delete it")
    words = len(expected.split())
    transcript = transcripts / f"{reference.stem}.json"
    if not transcript.exists():
        return Score(reference.stem, words, None)
    wrong = errors(expected.split(), normalize(read_transcript(transcript)).split())
    return Score(reference.stem, words, wrong, *read_findings(transcript))


def unscored(transcripts: Path, known: Container[str]) -> Iterator[Score]:
    """What was found in recordings without a reference; other JSON files are passed over."""
    for path in sorted(transcripts.glob("*.json")):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            if path.stem not in known:
                yield Score(path.stem, 0, 0, *read_findings(path))


def errors(expected: Sequence[str], said: Sequence[str]) -> int:
    """The fewest words to change, drop or add that make what was said out of what was expected."""
    row = list(range(len(said) + 1))
    for number, word in enumerate(expected, 1):
        above, row = row, [number]
        for at, heard in enumerate(said):
            row.append(min(above[at] + (word != heard), above[at + 1] + 1, row[at] + 1))
    return row[-1]


def reference_of(recording: Path) -> Path | None:
    """Where it is written what a recording says: beside it as text or as JSON, or in a folder `references` there."""
    folders = (recording.parent, recording.parent / "references")
    places = [folder / f"{recording.stem}{ending}" for folder in folders for ending in (".txt", ".json")]
    return next((place for place in places if place.is_file()), None)


def read_reference(path: Path) -> str:
    """What is said, of a text or of a JSON document with segments. Raises ValueError when it is no such document."""
    return read_transcript(path) if path.suffix == ".json" else path.read_text(encoding="utf-8")


def read_transcript(path: Path) -> str:
    """Everything that was said, in order. Raises ValueError when the file is no transcript of dropscribe."""
    try:
        segments = json.loads(path.read_text(encoding="utf-8"))["segments"]
        return " ".join(segment["text"] for segment in segments if segment.get("kind", "speech") == "speech")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a transcript written by dropscribe: {error!r}; delete it") from error


def read_findings(path: Path) -> tuple[str, float | None]:
    """The language of a transcript and its confidence, weighted by time."""
    document = json.loads(path.read_text(encoding="utf-8"))
    known = [segment for segment in document["segments"] if segment.get("confidence") is not None]
    segments = (Segment(one["start"], one["end"], one["text"], confidence=one["confidence"]) for one in known)
    return document.get("language", ""), confidence.average(segments)


def normalize(text: str) -> str:
    """Lower case, words parted by single spaces, no punctuation but apostrophes within words."""
    plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join(re.findall(r"\w+(?:'\w+)*", plain))


def total(scores: Sequence[Score]) -> float:
    """Percent of errors over the words of all recordings; a missing transcript has every word wrong."""
    errors = sum(one.words if one.errors is None else one.errors for one in scores)
    return 100 * errors / sum(one.words for one in scores)


def table(scores: Sequence[Score]) -> str:
    """One line a recording, and the total."""
    width = max(len("recording"), *(len(one.name) for one in scores))
    lines = [f"{'recording':{width}}  {'words':>5}  {'WER %':>6}  {'language':8}  {'confidence':>10}"]
    lines += [_line(one, width) for one in scores]
    words = sum(one.words for one in scores)
    lines.append(f"{'total':{width}}  {words:5}  {total(scores):6.1f}")
    return "\n".join(lines)


def _line(one: Score, width: int) -> str:
    words, rate = (f"{one.words}", "none") if one.words else ("-", "-")
    if one.words and one.errors is not None:
        rate = f"{100 * one.errors / one.words:.1f}"
    sure = "-" if one.confidence is None else f"{one.confidence:.2f}"
    return f"{one.name:{width}}  {words:>5}  {rate:>6}  {one.language or '-':8}  {sure:>10}"


if __name__ == "__main__":
    raise SystemExit(main())

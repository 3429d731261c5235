"""Speech and sounds that a real recognizer hears, all of them by one `up`: its model is loaded once."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import av
import numpy as np
import soundfile

from dropscribe.core.types import Span
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.worker.preparing import decode
from tests import sounds
from tests.conftest import AUDIO, SAMPLES
from tests.e2e.harness import Machine
from tests.sounds import RATE

LONG = 20.0  # seconds of a recording that is left to the benches, which take their time
SECONDS = 45
LEVEL = 10 ** (-25 / 20)  # of full scale: as loud as the decoder makes speech
SPOKEN = ("weather.flac", "meeting.wav", "news.mp3")
MIXED = "speech with music in its pauses"


@dataclass(frozen=True, slots=True)
class Heard:
    """A machine that `up --drain` has left, what that said, and the JSON transcripts by their stems.

    `played` is when music plays in the recording MIXED.
    """

    machine: Machine
    ran: CompletedProcess[str]
    documents: dict[str, dict[str, Any]]
    played: list[Span]


def hear(machine: Machine, folder: Path) -> Heard:
    """Let the machine read the samples, the real recordings and sounds; `folder` is for what is made meanwhile."""
    for path in (*recordings(SAMPLES), *recordings(AUDIO)):
        shutil.copy(path, machine.inbox)
    inbox = machine.inbox / "sounds"
    inbox.mkdir()
    for kind, make in sounds.KINDS.items():
        soundfile.write(inbox / f"{kind}.wav", as_loud(make(SECONDS)).clip(-1, 1), RATE)
    speech, played = mixed(folder)
    soundfile.write(inbox / f"{MIXED}.wav", speech.clip(-1, 1), RATE)
    ran = machine.run("up", str(machine.inbox), "--drain")
    documents = {path.stem: json.loads(path.read_text()) for path in machine.inbox.glob("*.json")}
    return Heard(machine, ran, documents, played)


def recordings(folder: Path) -> list[Path]:
    """What a scan of the folder would admit, if it is there, but for what is long: one of each reader and each book."""
    if not folder.is_dir():
        return []
    admitted = (path for path in sorted(folder.iterdir()) if path.is_file() and classify(path.name) is NameKind.ADMIT)
    brief = [path for path in admitted if seconds_of(path) < LONG]
    return list({path.stem.partition("-")[0]: path for path in brief}.values())


def seconds_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def as_loud(made: np.ndarray, factor: float = 1.0) -> np.ndarray:
    return made * factor * LEVEL / max(float(np.sqrt(np.mean(made**2))), 1e-9)


def spoken(name: str, folder: Path) -> np.ndarray:
    """One of the samples as it comes from the decoder."""
    decode.decode(SAMPLES / name, folder / "spoken.flac", decode.DecodeLimits(), label=name)
    return np.asarray(soundfile.read(folder / "spoken.flac")[0])


def mixed(folder: Path) -> tuple[np.ndarray, list[Span]]:
    """Three people who speak one after the other, as much music between them as makes 45 s, and when it plays."""
    parts = [as_loud(spoken(name, folder)) for name in SPOKEN]
    music = np.array_split(as_loud(sounds.music(SECONDS - sum(part.size for part in parts) / RATE)), len(parts) + 1)
    pieces = [music[0]] + [piece for pair in zip(parts, music[1:], strict=True) for piece in pair]
    ends = np.cumsum([0, *(piece.size for piece in pieces)]) / RATE
    return np.concatenate(pieces), [Span(start, end) for start, end in list(pairwise(ends))[::2]]

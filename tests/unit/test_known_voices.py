"""Which speakers of a recording are known voices: those who are clearly one, and each voice once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.worker.diarizing.known_voices import CLEAR, RECOGNIZED, recognize
from dropscribe.worker.merging.speaker_embeddings import Vectors

NAMES = ("Ada", "Bert")
KNOWN = np.eye(2, 3, dtype=np.float32)


def like(*similarities: tuple[float, float]) -> Vectors:
    """Speakers who are so much like Ada and Bert."""
    rows = [(ada, bert, np.sqrt(max(0.0, 1 - ada**2 - bert**2))) for ada, bert in similarities]
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("speakers", "found"),
    [
        (like((0.1, 0.93), (0.2, 0.3)), {0: ("Bert", 0.93)}),
        (like((0.0, 0.69)), {}),
        (like((0.65, 0.72)), {}),
        (like((0.9, 0.0), (0.8, 0.0)), {0: ("Ada", 0.9)}),
        (like((0.8, 0.0), (0.9, 0.0), (0.1, 0.75)), {1: ("Ada", 0.9), 2: ("Bert", 0.75)}),
        (like((0.72, 0.68), (0.7, 0.0)), {}),
        (np.zeros((1, 3), np.float32), {}),
        (np.zeros((0, 1), np.float32), {}),
    ],
    ids=[
        "clearly one of them",
        "somewhat like one",
        "like both",
        "two like the same: the nearer",
        "each their own",
        "the nearest to a voice may be another: nobody is it",
        "not heard",
        "no speakers",
    ],
)
def test_speakers_are_named_where_the_voice_is_clear(speakers: Vectors, found: dict[int, tuple[str, float]]) -> None:
    assert recognize(speakers, NAMES, KNOWN) == found


def test_without_known_voices_nobody_is_recognized() -> None:
    assert recognize(like((0.9, 0.0)), (), np.zeros((0,), np.float32)) == {}


ROWS = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda row: max(map(abs, row)) > 0.1)


@given(st.lists(ROWS, max_size=6))
def test_no_two_speakers_get_one_name_and_no_name_is_a_guess(rows: list[list[float]]) -> None:
    speakers = np.array(rows, np.float64).reshape(-1, 3)
    speakers = (speakers / np.linalg.norm(speakers, axis=1, keepdims=True)).astype(np.float32)
    found = recognize(speakers, NAMES, KNOWN)
    assert len({name for name, _ in found.values()}) == len(found)
    for speaker, (name, alike) in found.items():
        own, other = speakers[speaker] @ KNOWN[NAMES.index(name)], speakers[speaker] @ KNOWN[1 - NAMES.index(name)]
        assert own >= RECOGNIZED
        assert own - other >= CLEAR
        assert alike == pytest.approx(float(own), abs=0.01)

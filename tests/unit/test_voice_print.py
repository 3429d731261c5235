"""What a speaker says alone, and the voice that is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.diarizing.voice_print import MAX_SECONDS, spoken_alone, voice_print
from dropscribe.worker.merging.speaker_embeddings import unit
from tests import tones
from tests.tones import ToneEncoder


def test_only_what_nobody_else_says_at_the_time_counts() -> None:
    said = [
        Segment(0.0, 4.0, "a", 0),
        Segment(3.0, 6.0, "b", 1),
        Segment(8.0, 12.0, "a", 0),
        Segment(9.0, 10.0, "somebody", None),
        Segment(11.0, 12.0, "[Music]", None, SegmentKind.EVENT),
    ]
    assert spoken_alone(said, 0) == [Span(0.0, 3.0), Span(8.0, 9.0), Span(10.0, 12.0)]
    assert spoken_alone(said, 1) == [Span(4.0, 6.0)]
    assert spoken_alone(said, 2) == []


def test_silence_within_a_segment_does_not_count() -> None:
    speech = [Span(1.0, 2.0), Span(3.0, 20.0)]
    assert spoken_alone([Segment(0.0, 10.0, "a", 0)], 0, speech) == [Span(1.0, 2.0), Span(3.0, 10.0)]


def test_of_much_speech_the_longest_stretches_are_taken_in_order_of_time() -> None:
    said = [Segment(0.0, 50.0, "a", 0), Segment(100.0, 300.0, "a", 0), Segment(400.0, 490.0, "a", 0)]
    found = spoken_alone(said, 0)
    assert found == [Span(0.0, 10.0), Span(100.0, 300.0), Span(400.0, 490.0)]
    assert sum(span.duration for span in found) == MAX_SECONDS


def test_a_voice_is_the_mean_of_what_it_says_and_progress_is_told(tmp_path: Path) -> None:
    said = [tones.Said(0, 1.0, 4.0), tones.Said(1, 5.0, 8.0), tones.Said(0, 9.0, 12.0)]
    audio = tones.write(tmp_path / "talk.wav", said)
    tracked: list[Span] = []

    def track(parts: Sequence[Span]) -> Sequence[Span]:
        tracked.extend(parts)
        return parts

    low, high = (
        voice_print(audio, [Span(one.start, one.end) for one in said if one.voice == voice], ToneEncoder(), track)
        for voice in (0, 1)
    )
    assert np.linalg.norm([low, high], axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    assert len(tracked) == 3 * 4
    half = voice_print(audio, [Span(9.0, 12.0)], ToneEncoder())
    assert float(low @ half) > 0.9 > 0.6 > float(high @ half)
    assert np.allclose(low, unit(low))

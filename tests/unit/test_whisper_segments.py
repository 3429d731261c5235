"""Segments of Whisper as ours: every word is kept, and nothing lies outside of the chunk."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("faster_whisper")

from dropscribe.models.whisper.transcriber import segment_of

STEPS = st.lists(st.tuples(st.floats(0, 2), st.floats(0.05, 1)), max_size=80)


@given(steps=STEPS, early=st.floats(0, 1), late=st.floats(0, 1), cut=st.floats(0, 1))
def test_a_segment_keeps_every_word_and_stays_within_the_chunk(
    steps: list[tuple[float, float]], early: float, late: float, cut: float
) -> None:
    words, now = [], early
    for index, (gap, length) in enumerate(steps):
        words.append(SimpleNamespace(word=f" w{index}", start=now + gap, end=now + gap + length))
        now += gap + length
    text = "".join(word.word for word in words)
    heard = SimpleNamespace(words=words, start=early, end=now + late, text=text, avg_logprob=-0.5)
    duration = now * cut  # the last words of a window may lie beyond the chunk's end
    segment = segment_of(heard, duration)
    assert segment.text.split() == [word.text for word in segment.words] == text.split()
    times = [segment.start, *(moment for word in segment.words for moment in (word.start, word.end)), segment.end]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= duration

"""The diarization error rate: how much of what is said is given to nobody or to somebody else.

As NIST defines it for its Rich Transcription evaluations (The 2009 (RT-09) Rich Transcription Meeting Recognition
Evaluation Plan, section 6) and scores it with md-eval: over every moment, the missed speakers, those too many and those
confused, by the time that all speakers of the reference speak; two at once count twice. Speakers of the reference and
of the hypothesis are paired one to one, so that they share the most time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropscribe.worker.merging.speaker_turns import SpeakerTurn

MAX_PAIRED = 16  # of the side with fewer speakers: the work doubles with each

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DiarizationError:
    """Seconds, each counted once for each speaker: `spoken` is what the reference says."""

    spoken: float
    missed: float
    false_alarm: float
    confused: float

    @property
    def rate(self) -> float:
        """1 is an error of everything that is said; more false alarms than that make it larger."""
        return (self.missed + self.false_alarm + self.confused) / self.spoken


def diarization_error(
    reference: Sequence[SpeakerTurn], hypothesis: Sequence[SpeakerTurn], *, collar: float = 0.0
) -> DiarizationError:
    """Compare who speaks when; `collar` seconds before and after each start and end in the reference do not count.

    Example, without a collar: A speaks from 0 to 10, B from 8 to 14; the hypothesis says X from 0 to 9 and Y from 9 to
    16. A and X share 9 s, B and Y 5 s, A and Y 1 s, B and X 1 s, so A is X and B is Y.

        from  to   reference  hypothesis
           0   8   A          X
           8   9   A B        X           1 s missed
           9  10   A B        Y           1 s missed
          10  14     B        Y
          14  16              Y           2 s of false alarm

    16 s are spoken, so the rate is 4 / 16 = 25 %.
    """
    borders = [moment for turn in reference for moment in (turn.span.start, turn.span.end)]
    moments = [moment for turn in hypothesis for moment in (turn.span.start, turn.span.end)]
    edges = np.unique([*borders, *moments, *(b - collar for b in borders), *(b + collar for b in borders)])
    seconds = np.diff(edges) * _counts(edges, borders, collar)
    said, told = _speaking(reference, edges), _speaking(hypothesis, edges)
    saying, telling = said.sum(axis=0), told.sum(axis=0)
    right = most_in_common((said * seconds) @ told.T)
    return DiarizationError(
        spoken=float(saying @ seconds),
        missed=float(np.maximum(saying - telling, 0) @ seconds),
        false_alarm=float(np.maximum(telling - saying, 0) @ seconds),
        confused=max(0.0, float(np.minimum(saying, telling) @ seconds) - right),  # sums in another order may differ
    )


def _counts(edges: Numbers, borders: Sequence[float], collar: float) -> NDArray[np.bool_]:
    """Which of the times between two edges count: those outside of every collar."""
    middles = (edges[:-1] + edges[1:]) / 2
    counts = np.ones(len(middles), np.bool_)
    for border in borders:
        counts &= np.abs(middles - border) >= collar
    return counts


def _speaking(turns: Sequence[SpeakerTurn], edges: Numbers) -> Numbers:
    """1 where a speaker speaks between two edges, shape (speakers, edges - 1)."""
    speakers = sorted({turn.speaker for turn in turns})
    active = np.zeros((len(speakers), max(0, len(edges) - 1)))
    for turn in turns:
        first, end = np.searchsorted(edges, [turn.span.start, turn.span.end])
        active[speakers.index(turn.speaker), first:end] = 1
    return active


def most_in_common(shared: Numbers) -> float:
    """The largest sum of numbers in a table, shape (m, n), of which no two are in one row or one column.

    Goes through the columns, and knows for each set of rows the most that these can have had until there. Raises
    ValueError where both sides have more than `MAX_PAIRED`.
    """
    table = shared if shared.shape[0] <= shared.shape[1] else shared.T
    if len(table) > MAX_PAIRED:
        raise ValueError(f"{len(table)} speakers are too many to try all pairs; {MAX_PAIRED} can be")
    best = {0: 0.0}
    for column in table.T:
        for rows, total in list(best.items()):
            for row, gain in enumerate(column):
                if not rows >> row & 1:
                    more = rows | 1 << row
                    best[more] = max(best.get(more, 0.0), total + float(gain))
    return max(best.values())

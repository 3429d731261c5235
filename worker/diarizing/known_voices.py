"""Pure: which speakers of a recording are known voices, by the mean embedding of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dropscribe.worker.merging.speaker_embeddings import Vectors

# Across recordings the same person has 0.8 and more in the same surroundings; strangers have up to 0.3, and 0.6 by
# telephone (docs/measurements.md). A wrong name is worse than none, so it takes more than `SAME`.
RECOGNIZED = 0.7
CLEAR = 0.1  # so much more alike than any other known voice


def recognize(speakers: Vectors, names: Sequence[str], known: Vectors) -> dict[int, tuple[str, float]]:
    """The name and the similarity of each speaker who is clearly a known voice, by the speaker's number.

    `speakers` has the shape (n, dimensions), `known` (m, dimensions), in the order of `names`; rows of length 1, or
    zeros for a speaker who was not heard. No two speakers get one name: who is more alike gets it.

    Example: speaker 0 is like Ada 0.85 and like Bert 0.2, speaker 1 0.75 and 0.1, speaker 2 0.75 and 0.7. Speaker 0 is
    Ada. Speaker 1 is less like her than speaker 0, and speaker 2 may be either of them: they are not named.
    """
    if not (len(speakers) and names):
        return {}
    likeness = speakers @ known.T
    best = likeness.argmax(axis=1)
    found = {}
    for voice in np.unique(best):
        candidates = np.flatnonzero(best == voice)
        speaker = int(candidates[likeness[candidates, voice].argmax()])
        alike = float(likeness[speaker, voice])
        others = np.delete(likeness[speaker], voice)
        if alike >= RECOGNIZED and alike - others.max(initial=-1.0) >= CLEAR:
            found[speaker] = (names[voice], round(min(alike, 1.0), 2))
    return found

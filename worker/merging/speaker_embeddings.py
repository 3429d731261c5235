"""Pure: speaker embeddings, and which of many voices are the same person by them.

An embedding is a vector of length 1 that a speaker encoder makes of a second or two of speech; the nearer two are to
each other (cosine similarity), the likelier they are one person. Means of several are surer than each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # shape (n, dimensions), each row of length 1
Times = NDArray[np.float64]  # shape (n, 2): start and end in seconds
Labels = NDArray[np.int64]  # shape (n,)
Flags = NDArray[np.bool_]

# CAM++ on means of half a minute and more: the same person 0.8 and more; different people up to 0.3, and 0.6 by
# telephone, where only what one window tells apart helps (docs/measurements.md).
SAME = 0.6  # from here on two voices are one person
MAYBE = 0.45  # from here on they may be
BLOCK = 2048  # rows compared at a time, so that memory does not grow with the square of a recording


@dataclass(frozen=True, slots=True)
class SpeakerEmbeddings:
    """What was heard of the voices in a stretch of a recording, in order of time.

    `vectors[i]` was made of the recording between `times[i]`; `clusters[i]` is its local speaker, a number from 0.
    `encoder` is the name of what made them, empty where that is not one.
    """

    times: Times
    vectors: Vectors
    clusters: Labels
    encoder: str = ""

    @classmethod
    def joined(cls, stretches: Sequence[SpeakerEmbeddings]) -> SpeakerEmbeddings:
        """Several as one; the local speakers of each stretch get numbers of their own."""
        heard = [one for one in stretches if len(one.vectors)]
        encoders = set(map(attrgetter("encoder"), heard))
        vectors = [*map(attrgetter("vectors"), heard)]
        shifts = np.cumsum([0, *map(attrgetter("count"), stretches)])
        clusters = map(np.add, map(attrgetter("clusters"), stretches), shifts)
        return cls(
            np.concatenate([np.zeros((0, 2)), *map(attrgetter("times"), stretches)]),
            np.concatenate(vectors or [np.zeros((0, 1), np.float32)]),
            np.concatenate([np.zeros(0, np.int64), *clusters]),
            encoders.pop() if len(encoders) == 1 else "",
        )

    @property
    def count(self) -> int:
        """How many local speakers there are."""
        return int(self.clusters.max(initial=-1)) + 1


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """The rows, of shape (n, dimensions) or a single one, at length 1 in float32; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def means(vectors: Vectors, labels: Labels, count: int) -> Vectors:
    """The mean of each of `count` labels at length 1, shape (count, dimensions); zeros for a label that nobody has."""
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    centers = np.zeros((count, vectors.shape[1]), np.float32)
    if len(present):
        centers[present] = unit(np.add.reduceat(vectors[order], first, axis=0))
    return centers


def nearest(vectors: Vectors, centers: Vectors) -> Labels:
    """For each of n vectors the index of the center that is most like it, int64 of shape (n,).

    `vectors` has the shape (n, dimensions), `centers` (m, dimensions); both are float32.
    """
    blocks = [np.argmax(vectors[at : at + BLOCK] @ centers.T, axis=1) for at in range(0, len(vectors), BLOCK)]
    return np.concatenate([np.zeros(0, np.int64), *blocks])


def doubts(centers: Vectors, apart: Flags) -> dict[tuple[int, int], float]:
    """Pairs of voices, by their means, that sound somewhat alike and are not known `apart`, and how alike, up to 1.

    `centers` is float32 of shape (n, dimensions), `apart` of shape (n, n).
    """
    likeness = centers @ centers.T
    pairs = zip(*np.nonzero(np.triu((likeness >= MAYBE) & ~apart, 1)), strict=True)
    return {(int(one), int(other)): round(min(float(likeness[one, other]), 1.0), 2) for one, other in pairs}


def agglomerate(
    voices: Vectors, weights: NDArray[np.number], apart: Flags, *, same: float = SAME, people: int = 1
) -> Labels:
    """Which voices are one person: for each the number of its group, by first member.

    Joins the two most similar groups, by their weighted means, again and again while they are at least `same` alike
    and there are more than `people`. `apart`, shape (n, n), says of two voices that they are two people, whatever they
    sound like.

    `voices` is float32 of shape (n, dimensions), rows of length 1 or 0, and `weights` of shape (n,) says how much is
    known of each; the answer is int64 of shape (n,).

    Example: of three voices the first two are most alike (0.98), so they are joined. The third is 0.96 like
    the first, but it is known to be somebody else than the second, so it stays alone:

    >>> voices = unit(np.array([[1, 0], [1, 0.2], [1, -0.3]]))
    >>> apart = np.array([[False, False, False], [False, False, True], [False, True, False]])
    >>> agglomerate(voices, np.ones(3), apart).tolist()
    [0, 0, 1]
    """
    count = len(voices)
    sums = voices.astype(np.float64) * np.asarray(weights, np.float64)[:, None]
    apart = apart.copy()
    centers = unit(sums)
    likeness = np.where(apart, -np.inf, centers @ centers.T)
    np.fill_diagonal(likeness, -np.inf)
    group = np.arange(count)
    for _ in range(count - people):
        if likeness.max() < same:
            break
        one, other = sorted(np.unravel_index(int(likeness.argmax()), likeness.shape))
        group[group == other] = one
        sums[one] += sums[other]
        centers[one] = unit(sums[one])
        apart[one] |= apart[other]
        apart[:, one] = apart[one]
        likeness[one] = np.where(apart[one], -np.inf, centers @ centers[one])
        likeness[one, group != np.arange(count)] = -np.inf  # those are members of another by now
        likeness[one, one] = -np.inf
        likeness[:, one] = likeness[one]
        likeness[other] = likeness[:, other] = -np.inf
    numbers: Labels = np.unique(group, return_inverse=True)[1]
    return numbers

"""Pure: who speaks when in a recording, by the speaker embeddings of all its stretches.

The local speakers of the stretches are linked to people. Then each sub-window goes to the person whose mean it is most
like: a stretch with only a few words of a speaker could not distinguish them from another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter

import numpy as np

from dropscribe.core.types import Span
from dropscribe.worker.diarizing.clustering import by_appearance, cluster
from dropscribe.worker.merging.speaker_embeddings import (
    Flags,
    Labels,
    SpeakerEmbeddings,
    Vectors,
    agglomerate,
    doubts,
    means,
    nearest,
)
from dropscribe.worker.merging.speaker_linking import Voices
from dropscribe.worker.merging.speaker_turns import SpeakerTurn

ROUNDS = 2  # of assigning all sub-windows again; a third changes nothing
SAMPLE = 600  # sub-windows that are clustered where people say how many speakers there are: 10 min of speech
TOUCH = 0.001  # s: sub-windows that are farther apart lie in different spans of speech


def diarize(stretches: Sequence[SpeakerEmbeddings], people: int | None = None) -> tuple[Voices, Vectors]:
    """The turns of a recording, and the mean embedding of each speaker; `people` is how many, where somebody said so.

    Speakers are numbered by first appearance. The embeddings are float32 of shape (speakers, dimensions), in the order
    of their numbers.
    """
    whole = SpeakerEmbeddings.joined(stretches)
    if not len(whole.vectors):
        return Voices(compared=True), whole.vectors
    labels = _linked(stretches, whole) if people is None else _counted(whole.vectors, people)
    for _ in range(ROUNDS):
        labels = by_appearance(nearest(whole.vectors, means(whole.vectors, labels, int(labels.max()) + 1)))
    centers = means(whole.vectors, labels, int(labels.max()) + 1)
    perhaps = doubts(centers, _met(stretches, labels))
    return Voices(perhaps=perhaps, compared=True, turns=tuple(turns_of(whole, labels))), centers


def _linked(stretches: Sequence[SpeakerEmbeddings], whole: SpeakerEmbeddings) -> Labels:
    """Local speakers as people: two of one stretch are two."""
    count = int(whole.clusters.max()) + 1
    of_stretch = np.repeat(np.arange(len(stretches)), [*map(attrgetter("count"), stretches)])
    seconds = np.bincount(whole.clusters, weights=whole.times[:, 1] - whole.times[:, 0], minlength=count)
    apart = of_stretch[:, None] == of_stretch
    np.fill_diagonal(apart, val=False)
    return agglomerate(means(whole.vectors, whole.clusters, count), seconds, apart)[whole.clusters]


def _counted(vectors: Vectors, people: int) -> Labels:
    """Exactly so many people, found in a sample that is spread over the recording."""
    sample = np.unique(np.linspace(0, len(vectors) - 1, SAMPLE).astype(int))
    labels = cluster(vectors[sample], people)
    return nearest(vectors, means(vectors[sample], labels, int(labels.max()) + 1))


def turns_of(whole: SpeakerEmbeddings, labels: Labels) -> Iterator[SpeakerTurn]:
    """Each moment of speech goes to the sub-window whose middle is nearest; neighbours of one speaker are one turn.

    `labels` is int64 of shape (n,), the speaker of each sub-window.

    Example: the middles of the sub-windows are 0.75, 1.75 and 2.75 s. The first two are speaker 0, who so speaks until
    2.25 s:

    >>> heard = SpeakerEmbeddings(np.array([[0, 1.5], [1, 2.5], [2, 3.5]]), np.ones((3, 1)), np.zeros(3, int))
    >>> [(turn.span.start, turn.span.end, turn.speaker) for turn in turns_of(heard, np.array([0, 0, 1]))]
    [(0.0, 2.25, 0), (2.25, 3.5, 1)]
    """
    middles = whole.times.mean(axis=1)
    borders = np.flatnonzero(whole.times[1:, 0] > whole.times[:-1, 1] + TOUCH) + 1  # between spans of speech
    for first, end in pairwise([0, *borders.tolist(), len(labels)]):
        changes = [at for at in range(first + 1, end) if labels[at] != labels[at - 1]]
        cuts = [float(middles[at - 1] + middles[at]) / 2 for at in changes]
        edges = [float(whole.times[first, 0]), *cuts, float(whole.times[end - 1, 1])]
        for at, (start, stop) in zip([first, *changes], pairwise(edges), strict=True):
            yield SpeakerTurn(Span(round(start, 3), round(stop, 3)), int(labels[at]))


def _met(stretches: Sequence[SpeakerEmbeddings], labels: Labels) -> Flags:
    """Who spoke in the same stretch: those were distinguished there."""
    count, at = int(labels.max()) + 1, 0
    met = np.zeros((count, count), np.bool_)
    for stretch in stretches:
        present = np.unique(labels[at : at + len(stretch.clusters)])
        met[np.ix_(present, present)] = True
        at += len(stretch.clusters)
    return met

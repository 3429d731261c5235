"""Pure: which embeddings of a stretch are one person's, by spectral clustering.

Each embedding is tied to those most like it. If the ties form k groups with few ties between them, the graph's
Laplacian has k small eigenvalues and then a gap. The gap shows how many people there are, and the eigenvectors show who
is who. A. Ng, M. Jordan, Y. Weiss: On Spectral Clustering (2001); the number of groups by the eigengap: U. von Luxburg,
A Tutorial on Spectral Clustering (2007).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropscribe.worker.merging.speaker_embeddings import Labels, Vectors, means

Numbers = NDArray[np.float64]

MOST = 10  # people in a stretch of some minutes; one who speaks less than the tenth is found where stretches are linked
TIES = 0.2  # of the stretch that an embedding is tied to ...
FEWEST_TIES = 6  # ... but at least so many: fewer would leave one person in pieces
TOO_FEW = 4  # embeddings: from so few nothing is known but that somebody speaks
ONE_PERSON = 0.75  # similarity of two groups' means: halves of one person's speech have 0.82 and more
ROUNDS = 50  # of k-means, which settles long before


def cluster(vectors: Vectors, people: int | None = None) -> Labels:
    """The local speaker of each embedding, numbered by first appearance; `people` is how many, None: to be found out.

    `vectors` is float32 of shape (n, dimensions), rows of length 1; the labels are int64 of shape (n,). Always the same
    for the same vectors.

    Example: three point along one axis, give or take 6 degrees, and three along the other. Two people, as the second
    eigenvalue is near 0 and the third is not:

    >>> from dropscribe.worker.merging.speaker_embeddings import unit
    >>> directions = [[1, 0.1], [1, 0], [0, 1], [0.1, 1], [1, -0.1], [-0.1, 1]]
    >>> cluster(unit(np.array(directions))).tolist()
    [0, 0, 1, 1, 0, 1]
    """
    if len(vectors) < TOO_FEW or people == 1:
        return np.arange(len(vectors)) % 1
    values, basis = np.linalg.eigh(_laplacian(vectors))
    most = min(people or MOST, len(vectors) - 1)
    count = most if people else int(np.argmax(np.diff(values[: most + 1]))) + 1
    points = basis[:, :count]
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    labels = _k_means(points / np.maximum(lengths, 1e-9), count)
    return by_appearance(labels if people else _without_halves(vectors, labels))


def _laplacian(vectors: Vectors) -> Numbers:
    """The normalized Laplacian of the graph of ties, shape (n, n)."""
    likeness = np.clip(vectors @ vectors.T, 0, 1).astype(np.float64)
    ties = min(len(vectors), max(FEWEST_TIES, int(np.ceil(len(vectors) * TIES))))
    strongest = np.argsort(-likeness, axis=1, kind="stable")[:, :ties]
    graph = np.zeros_like(likeness)
    np.put_along_axis(graph, strongest, np.take_along_axis(likeness, strongest, 1), 1)
    graph = (graph + graph.T) / 2
    np.fill_diagonal(graph, 0)
    degrees = graph.sum(axis=1)
    scale = 1 / np.sqrt(np.maximum(degrees, 1e-9))
    laplacian: Numbers = scale[:, None] * (np.diag(degrees) - graph) * scale
    return laplacian


def _k_means(points: Numbers, count: int) -> Labels:
    """The group of each of n points, shape (n, dimensions), by Lloyd's iteration.

    Begins with the point farthest out, then each farthest from those before (T. Gonzalez, 1985): no chance is in it.
    """
    centers = points[[int(np.argmax(_distances(points, points.mean(axis=0)[None])))]]
    while len(centers) < count:
        centers = np.vstack((centers, points[int(np.argmax(_distances(points, centers).min(axis=1)))]))
    for _ in range(ROUNDS):
        labels = np.argmin(_distances(points, centers), axis=1)
        groups = [points[labels == k] for k in range(count)]
        moved = np.array([group.mean(axis=0) if len(group) else centers[k] for k, group in enumerate(groups)])
        if np.allclose(moved, centers):
            break
        centers = moved
    found: Labels = labels
    return found


def _distances(points: Numbers, centers: Numbers) -> Numbers:
    """The squared distance of each point to each center; shape (n, centers)."""
    squares: Numbers = ((points[:, None] - centers[None]) ** 2).sum(axis=2)
    return squares


def _without_halves(vectors: Vectors, labels: Labels) -> Labels:
    """One person that was cut into groups is one again."""
    while True:
        count = int(labels.max()) + 1
        centers = means(vectors, labels, count)
        likeness = np.triu(centers @ centers.T, 1)
        if likeness.max() < ONE_PERSON:
            return labels
        one, other = np.unravel_index(int(likeness.argmax()), likeness.shape)
        labels = np.unique(np.where(labels == other, one, labels), return_inverse=True)[1]


def by_appearance(labels: Labels) -> Labels:
    """The same groups, numbered from 0 by first appearance: `labels` and the answer are int64 of shape (n,)."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    numbers: Labels = np.argsort(np.argsort(first))[inverse]
    return numbers

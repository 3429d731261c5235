"""Embeddings are grouped to people: the most alike first, and never two who are known apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.worker.merging.speaker_embeddings import SpeakerEmbeddings, Vectors, agglomerate, means, nearest, unit


def voices(seed: int, people: int, copies: int, noise: float = 0.03) -> Vectors:
    """`copies` embeddings of each of so many people, one person after the other."""
    draw = np.random.default_rng(seed)
    centers = unit(draw.normal(size=(people, 64)))
    return unit(np.repeat(centers, copies, axis=0) + draw.normal(scale=noise, size=(people * copies, 64)))


def nobody_apart(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.zeros((count, count), np.bool_)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 6))
def test_each_person_is_one_group_numbered_by_its_first_member(seed: int, people: int, copies: int) -> None:
    vectors = voices(seed, people, copies)
    found = agglomerate(vectors, np.ones(len(vectors)), nobody_apart(len(vectors)))
    assert found.tolist() == np.repeat(np.arange(people), copies).tolist()


def test_the_most_alike_are_joined_first_and_nobody_joins_one_who_is_known_apart() -> None:
    vectors = unit(np.array([[1.0, 0.0, 0.0], [0.9, 0.44, 0.0], [0.8, 0.0, 0.6]]))
    apart = nobody_apart(3)
    apart[1, 2] = apart[2, 1] = True
    assert agglomerate(vectors, np.ones(3), apart).tolist() == [0, 0, 1]
    assert agglomerate(vectors, np.ones(3), nobody_apart(3)).tolist() == [0, 0, 0]


def test_so_many_people_as_somebody_said_remain_but_those_known_apart_stay_so() -> None:
    vectors = voices(1, 4, 1)
    assert len(set(agglomerate(vectors, np.ones(4), nobody_apart(4), same=-1.0, people=2).tolist())) == 2
    apart = ~np.eye(4, dtype=np.bool_)
    assert agglomerate(vectors, np.ones(4), apart, same=-1.0, people=2).tolist() == [0, 1, 2, 3]


def test_nothing_is_grouped_of_nothing() -> None:
    assert agglomerate(np.zeros((0, 3), np.float32), np.zeros(0), nobody_apart(0)).size == 0
    assert SpeakerEmbeddings.joined(()).vectors.shape[0] == 0


def test_the_mean_of_a_label_that_nobody_has_is_zero() -> None:
    found = means(np.eye(3, dtype=np.float32), np.array([2, 2, 0]), 4)
    assert found[0].tolist() == [0, 0, 1]
    assert found[2].tolist() == pytest.approx([2**-0.5, 2**-0.5, 0])
    assert not found[[1, 3]].any()


def test_each_vector_goes_to_the_center_that_is_most_like_it() -> None:
    vectors = voices(2, 3, 1000)
    assert nearest(vectors, vectors[::1000]).tolist() == np.repeat(np.arange(3), 1000).tolist()


def test_joined_stretches_have_local_speakers_of_their_own() -> None:
    one = SpeakerEmbeddings(np.array([[0.0, 1.0], [1.0, 2.0]]), np.eye(2, dtype=np.float32), np.array([0, 1]))
    silent = SpeakerEmbeddings.joined(())
    joined = SpeakerEmbeddings.joined([one, silent, one])
    assert joined.clusters.tolist() == [0, 1, 2, 3]
    assert joined.vectors.shape == (4, 2)


def test_joined_stretches_are_of_the_encoder_that_made_them_all() -> None:
    def by(encoder: str) -> SpeakerEmbeddings:
        return SpeakerEmbeddings(np.zeros((1, 2)), np.ones((1, 1), np.float32), np.array([0]), encoder)

    silent = SpeakerEmbeddings.joined(())
    assert SpeakerEmbeddings.joined([by("one"), silent, by("one")]).encoder == "one"
    assert SpeakerEmbeddings.joined([by("one"), by("another")]).encoder == ""

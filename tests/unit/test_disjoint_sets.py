"""Things that were joined, directly or by way of others, are in one set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropscribe.worker.merging.disjoint_sets import DisjointSets

members = range(12)
pairs = st.lists(st.tuples(st.sampled_from(members), st.sampled_from(members)))


def reached(start: int, joined: list[tuple[int, int]]) -> set[int]:
    """What can be reached from a member step by step."""
    found = {start}
    while more := {b for pair in joined for a, b in (pair, pair[::-1]) if a in found} - found:
        found |= more
    return found


@given(pairs)
def test_a_set_has_what_can_be_reached_by_the_pairs_that_were_joined(joined: list[tuple[int, int]]) -> None:
    sets = DisjointSets(members)
    for one, other in joined:
        sets.join(one, other)
    for one in members:
        assert sorted(sets.of(one)) == sorted(reached(one, joined))
        assert all(sets.together(one, other) == (other in reached(one, joined)) for other in members)


@given(pairs)
def test_sets_and_their_members_come_in_the_order_in_which_they_were_given(joined: list[tuple[int, int]]) -> None:
    sets = DisjointSets(members)
    for one, other in joined:
        sets.join(one, other)
    assert all(found == sorted(found) for found in sets.all())
    assert [found[0] for found in sets.all()] == sorted(found[0] for found in sets.all())
    assert sets.numbers() == {one: at for one in members for at, found in enumerate(sets.all()) if one in found}

"""Room for several models on one card: in their order, and what is left over for those that fill it."""

from __future__ import annotations

from dropscribe.models.gpu.room import Need, share_out


def test_what_fixed_models_leave_is_divided_among_those_that_fill_the_card() -> None:
    first, second, third = share_out([Need(30, fills=True), Need(10), Need(20, fills=True)], 100, 100, 1.0)
    assert (first.share, second.share, third.share) == (0.5, None, 0.4)


def test_a_model_that_has_no_room_leaves_its_place_to_the_next() -> None:
    rooms = share_out([Need(60, fills=True), Need(50), Need(20)], 100, 90, 1.0)
    assert [(room.given, room.left) for room in rooms] == [(True, 90), (False, 30), (True, 30)]
    assert rooms[0].share == 0.7


def test_none_takes_more_than_the_share_that_is_set() -> None:
    rooms = share_out([Need(30, fills=True), Need(50)], 100, 100, 0.45)
    assert [(room.given, room.share) for room in rooms] == [(True, 0.45), (False, None)]


def test_the_first_is_started_even_where_it_has_no_room() -> None:
    rooms = share_out([Need(), Need(200), Need(1)], 100, 0, 1.0)
    assert [room.given for room in rooms] == [True, False, False]
    assert share_out([Need(fills=True)], 100, 0, 1.0)[0].share is None, "no share of 0 is set"

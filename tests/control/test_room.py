"""When the next episode may begin, and when the session gives up on the writer."""

from __future__ import annotations

import pytest

from control.room import Room
from transport.errors import OnbeatError
from transport.records import Judgement, Verdict
from transport.ring import LogRing
from transport.schema import Schema, Stream

S_NS = 1_000_000_000


def ring_with(records: int) -> LogRing:
    """Room for 20 records."""
    ring = LogRing.create(Schema((Stream("action", "float32", (2,)),)), seconds=20, fps=1)
    for index in range(records):
        ring.append_event(Verdict(index, Judgement.KEEP))
    return ring


@pytest.mark.parametrize(("records", "short"), [(0, False), (10, False), (11, True), (20, True)])
def test_an_episode_begins_in_a_ring_that_is_half_empty(records: int, short: bool) -> None:
    assert Room(ring_with(records)).is_short(0) is short


def test_after_a_take_without_room_the_spill_has_to_drain_too() -> None:
    ring = ring_with(20)
    ring.free_to(16)  # spilled
    ring.note_durable(5)
    room = Room(ring)
    assert not room.is_short(0)
    room.take_ended(full=True)
    assert room.is_short(0)
    ring.note_durable(10)
    assert not room.is_short(0)


def test_three_takes_without_room_in_a_row_end_the_session() -> None:
    room = Room(ring_with(0))
    for full in (True, True, False, True, True):
        room.take_ended(full=full)
    with pytest.raises(OnbeatError, match=r"3 takes in a row .* cannot take this load; use a faster codec"):
        room.take_ended(full=True)


def test_a_slow_writer_is_waited_for_and_one_that_stands_still_is_not() -> None:
    ring = ring_with(20)
    room = Room(ring)
    for minute in range(20):
        ring.note_durable(minute % 7)
        assert room.is_short(minute * 60 * S_NS)
    assert room.is_short(20 * 60 * S_NS)
    with pytest.raises(OnbeatError, match=r"the writer stands still and 20 records wait for it"):
        room.is_short(23 * 60 * S_NS)


def test_time_between_two_waits_does_not_count_as_standing_still() -> None:
    ring = ring_with(20)
    room = Room(ring)
    assert room.is_short(0)
    room.take_ended(full=False)
    assert room.is_short(300 * S_NS)

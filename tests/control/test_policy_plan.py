"""Which action is for which tick, and when the policy is asked again; a whole session in simulated ticks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.policy_memory import Answer, Request
from control.policy_plan import Cadence, Follower


def answer(number: int, observed: int, rows: int) -> Answer:
    return Answer(number, 1, observed, np.arange(rows, dtype=float)[:, None] + observed, 0)


@pytest.mark.parametrize(
    ("observed", "rows", "tick", "not_before", "row"),
    [
        (0, 4, 0, 0, 0),
        (0, 4, 3, 0, 3),
        (0, 4, 4, 0, None),  # used up
        (2, 8, 7, 0, 5),  # came five ticks late: its first rows are past
        (2, 4, 7, 0, None),  # came too late altogether
        (2, 8, 7, 2, 5),
        (2, 8, 7, 3, None),  # a person acted since
        (3, 1, 3, 0, 0),
        (3, 1, 9, 0, 0),  # a single action is used when it comes
    ],
)
def test_row_of_a_tick(observed: int, rows: int, tick: int, not_before: int, row: int | None) -> None:
    follower = Follower()
    follower.offer(answer(1, observed, rows))
    assert follower.row(tick, not_before) == row


def test_a_single_action_is_used_once() -> None:
    follower = Follower()
    follower.offer(answer(1, 3, 1))
    assert [follower.row(tick, 0) for tick in (4, 5)] == [0, None]
    follower.offer(answer(2, 5, 1))
    assert follower.row(6, 0) == 0
    follower.forget()
    assert follower.row(7, 0) is None


def simulate(ticks: int, rows: int, steps: int, delay: int) -> tuple[list[int | None], list[int]]:
    """Rows that acted by tick, and the ticks whose observations were answered.

    The observation of a tick is there before it; tick 0 waits for its answer; every answer takes `delay` ticks.
    """
    follower, cadence = Follower(), Cadence(steps, delay)
    cadence.begin()
    follower.offer(answer(1, 0, rows))
    cadence.answered(0, rows, 0)
    asked, ready, number = [0], -1, 1
    busy: int | None = None
    acted = []
    for tick in range(ticks):
        for _ in range(2):  # the answer that is due, and one that takes no time
            if busy is not None and tick >= ready:
                number += 1
                follower.offer(answer(number, busy, rows))
                cadence.answered(busy, rows, tick)
                busy = None
            if busy is None and cadence.wants(Request(1, 1, tick, 0)):
                busy, ready = tick, tick + delay
                asked.append(tick)
        acted.append(follower.row(tick, 0))
    return acted, asked


def test_a_fast_policy_infers_when_select_action_would() -> None:
    acted, asked = simulate(20, rows=8, steps=8, delay=0)
    assert asked == [0, 8, 16]
    assert acted == [tick % 8 for tick in range(20)]


def test_a_fast_policy_looks_again_after_its_own_steps() -> None:
    acted, asked = simulate(12, rows=16, steps=4, delay=0)
    assert asked == [0, 4, 8]
    assert acted == [tick % 4 for tick in range(12)]


def test_a_slow_policy_with_long_chunks_never_holds() -> None:
    acted, asked = simulate(60, rows=16, steps=16, delay=5)
    assert None not in acted
    assert asked == [0, 11, 22, 33, 44, 55]


def test_a_slow_policy_with_short_chunks_holds_two_ticks_of_five() -> None:
    acted, asked = simulate(48, rows=8, steps=8, delay=5)
    assert asked == [0, 3, *range(8, 48, 5)]
    # Rows 5 to 7 of every answer, and then nothing until the next.
    assert acted == [*range(8), *(row for _ in range(8) for row in (5, 6, 7, None, None))]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 8))
def test_held_ticks_are_those_that_no_answer_covers(rows: int, steps: int, delay: int) -> None:
    acted, asked = simulate(200, rows=rows, steps=steps, delay=delay)
    if delay == 0 or rows > 2 * delay:
        assert None not in acted
    if rows > 1:
        for tick, row in enumerate(acted):
            came = max(observed for observed in asked if observed == 0 or observed + delay <= tick)
            assert row == (tick - came if tick - came < rows else None)


def test_after_a_person_the_policy_is_asked_at_once() -> None:
    cadence = Cadence(50, 0)
    cadence.begin()
    cadence.answered(0, 50, 0)
    assert not cadence.wants(Request(1, 1, 9, 0))
    assert cadence.wants(Request(1, 1, 9, 9))
    assert not cadence.wants(Request(1, 1, 9, 10))
    cadence.answered(9, 50, 9)
    assert not cadence.wants(Request(1, 1, 10, 9))

"""Which slots a log uses, as a model without a ring."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import free_slots
from transport.free_slots import FreeSlots

SLOTS, RECENT = 40, 10


class Log:
    """Appends and frees; knows where each record went."""

    def __init__(self, slots: int = SLOTS, recent: int = RECENT) -> None:
        self.index = np.zeros(slots, np.uint64)
        self.recent = recent
        self.free = FreeSlots(self.index, recent)
        self.head, self.tail = 0, 1
        self.places: dict[int, int] = {}

    def append(self) -> int:
        place = self.free.next(self.head, self.tail)
        assert self.free.next(self.head, self.tail) == place
        kept = range(max(1, min(self.tail, self.head + 1 - self.recent)), self.head + 1)
        assert place not in {self.places[seq] for seq in kept}
        self.free.taken()
        self.head += 1
        self.places[self.head] = place
        assert self.index[self.head % len(self.index)] == place
        return place

    def free_to(self, seq: int) -> None:
        self.tail = max(self.tail, min(seq, self.head + 1))


def test_a_short_backlog_uses_few_slots() -> None:
    log = Log()
    for _ in range(10 * SLOTS):
        log.append()
        log.free_to(log.head - 3)
    assert set(log.places.values()) == set(range(RECENT + 1))


def test_a_long_one_uses_them_all_and_leaves_them_again() -> None:
    log = Log()
    for _ in range(SLOTS):
        log.append()
    assert set(log.places.values()) == set(range(SLOTS))
    log.free_to(log.head + 1)
    for _ in range(SLOTS):
        log.append()
        log.free_to(log.head + 1)
    used = {log.append() for _ in range(3 * SLOTS) if log.free_to(log.head + 1) is None}
    assert len(used) == RECENT + 1


def test_a_burst_of_free_slots_is_sorted_in_over_several_ticks() -> None:
    log = Log()
    for _ in range(SLOTS - 1):
        log.append()
    log.free_to(log.head + 1)
    log.append()
    assert len(log.free._free) <= 8


def test_the_index_alone_says_what_is_in_use() -> None:
    """The publisher goes on where control died, also with a slot that control had half filled."""
    log = Log()
    for _ in range(3 * SLOTS):
        log.append()
        log.free_to(log.head - 20)
    log.free.next(log.head, log.tail)
    log.free = FreeSlots(log.index, log.recent)
    for _ in range(SLOTS - 21):
        log.append()
    assert log.head + 1 - log.tail == SLOTS


@pytest.mark.parametrize("first_to_append", [True, False])
def test_ctrl_c_at_any_line_loses_no_slot(first_to_append: bool) -> None:
    """`record_dataset` runs in its caller's process, where an interrupt may come anywhere."""
    for line in itertools.count(1):
        log = Log()
        for _ in range(2 * SLOTS):
            log.append()
            log.free_to(log.head - 2)
        if first_to_append:
            log.free = FreeSlots(log.index, log.recent)
        try:
            with _interrupted_at(line):
                log.append()
            return
        except KeyboardInterrupt:
            pass
        while log.head + 1 - log.tail < SLOTS:
            log.append()
        held = [int(log.index[seq % SLOTS]) for seq in range(log.tail, log.head + 1)]
        assert sorted(held) == list(range(SLOTS)), line


@contextmanager
def _interrupted_at(line: int) -> Iterator[None]:
    """KeyboardInterrupt before the nth line of free_slots.py that runs."""
    lines = itertools.count(1)

    def trace(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != free_slots.__file__:
            return None
        if event == "line" and next(lines) == line:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@given(
    st.integers(2, 12).flatmap(lambda slots: st.tuples(st.just(slots), st.integers(1, slots - 1))),
    st.lists(st.one_of(st.just("append"), st.just("take over"), st.integers(1, 12)), max_size=200),
)
def test_no_slot_is_given_away_that_is_held_or_recent(sizes: tuple[int, int], steps: list[str | int]) -> None:
    log = Log(*sizes)
    for step in steps:
        if step == "take over":
            log.free = FreeSlots(log.index, log.recent)
        elif isinstance(step, int):
            log.free_to(log.tail + step)
        elif log.head + 1 - log.tail < sizes[0]:
            log.append()

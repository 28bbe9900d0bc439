"""Which slot of the log ring the next record gets: of those that are free, the one that was in use last.

A log that goes round all its slots touches all its memory all the time, however short the backlog. Here memory that
only a longer backlog needs rests, and what is written next was written a moment ago: on a virtual machine, copying
11 MB of pictures into memory not touched for five seconds took up to 24 ms of processor time instead of 1.5.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

# Slots come free in bursts when a writer comes back; a tick sorts in so many of them, and the rest stays for the next.
_AT_ONCE = 8


class FreeSlots:
    """For the process that appends.

    Args:
        index: uint64, shape (slots,), shared: element `seq % slots` is the slot of record `seq`. Written before the
            record is filled in.
        recent: the slots of so many newest records stay as they are even when they are free; less than `slots`.
    """

    def __init__(self, index: NDArray[np.uint64], recent: int) -> None:
        self._index = index
        self._recent = recent
        self._free: list[int] = []
        self._in_use: deque[int] = deque()
        self._kept_from = 1
        self._head = -1
        self._next: int | None = None

    def next(self, head: int, tail: int) -> int:
        """The slot of record `head + 1`; the same until `taken`. Fewer records are held than there are slots."""
        if head != self._head:
            self._take_over(head, tail)
        if self._next is None:
            # Interrupted anywhere in here (Ctrl-C), the next call takes over afresh instead of losing a slot.
            self._head = -1
            self._collect(head, tail)
            slot = self._free.pop()
            self._index[(head + 1) % len(self._index)] = slot
            self._next, self._head = slot, head
        return self._next

    def taken(self) -> None:
        """Record `head + 1` is appended."""
        assert self._next is not None
        head, self._head = self._head, -1
        self._in_use.append(self._next)
        self._next, self._head = None, head + 1

    def _take_over(self, head: int, tail: int) -> None:
        # The first to append, or the one that goes on where another process died; the index alone says what is in use.
        count = len(self._index)
        self._head, self._next = -1, None
        self._kept_from = self._first_kept(head, tail)
        self._in_use = deque(int(self._index[seq % count]) for seq in range(self._kept_from, head + 1))
        in_use = set(self._in_use)
        self._free = [slot for slot in reversed(range(count)) if slot not in in_use]
        self._head = head

    def _collect(self, head: int, tail: int) -> None:
        until = min(self._first_kept(head, tail), self._kept_from + _AT_ONCE)
        while self._kept_from < until:
            self._free.append(self._in_use.popleft())
            self._kept_from += 1

    def _first_kept(self, head: int, tail: int) -> int:
        return max(1, min(tail, head + 1 - self._recent))

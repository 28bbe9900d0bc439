"""What hosts read and wrote, register by register, for tests and drills to look up afterwards."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple

_LIMIT = 200_000


class Access(NamedTuple):
    """One request that reads or writes exactly one register, on one servo or several.

    Fields:
        number: counts from 0 and never starts again.
        time_ns: CLOCK_MONOTONIC, when the request had crossed the wire.
        kind: `read` or `write`.
        values: by servo id.
        fault: what was done to the answers, if anything.
    """

    number: int
    time_ns: int
    kind: str
    register: str
    values: dict[int, int]
    fault: str | None


class History:
    """The last accesses, and counts of everything."""

    def __init__(self) -> None:
        self._accesses: deque[Access] = deque(maxlen=_LIMIT)
        self._number = 0
        self.counts: Counter[str] = Counter()

    def add(self, time_ns: int, kind: str, register: str, values: dict[int, int], fault: str | None) -> None:
        self._accesses.append(Access(self._number, time_ns, kind, register, values, fault))
        self._number += 1

    def select(self, kind: str | None, register: str | None, since: int) -> list[dict[str, Any]]:
        """The accesses with a number of at least `since`, of one kind and register or of all."""
        return [
            access._asdict()
            for access in self._accesses
            if access.number >= since and kind in (None, access.kind) and register in (None, access.register)
        ]

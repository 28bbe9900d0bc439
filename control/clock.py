"""Time as the loop sees it: CLOCK_MONOTONIC in nanoseconds, injected so that tests are exact and take no time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC in nanoseconds; never goes backwards, not affected by changes of the wall clock."""

    def sleep_until_ns(self, deadline_ns: int) -> None:
        """Return at `deadline_ns` or as soon after it as possible, never before; at once when it has passed."""


class SystemClock:
    """The machine's own clock: sleeps to just before the deadline, then spins the rest.

    Args:
        spin_ns: how long to spin, in nanoseconds. It covers the kernel's wake-up latency at the price of that much
            CPU in every tick; 0 never spins.
    """

    def __init__(self, spin_ns: int = 200_000) -> None:
        self._spin_ns = spin_ns

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until_ns(self, deadline_ns: int) -> None:
        # time.sleep waits on an absolute CLOCK_MONOTONIC deadline and restarts after a signal (PEP 475). It may still
        # return early by the rounding of its float argument, hence the loop.
        while (rest_ns := deadline_ns - self._spin_ns - time.monotonic_ns()) > 0:
            time.sleep(rest_ns / 1e9)
        while time.monotonic_ns() < deadline_ns:
            pass


class FakeClock:
    """A clock that stands still: time passes only by sleeping, which is exact, and by `advance`."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until_ns(self, deadline_ns: int) -> None:
        self._now_ns = max(self._now_ns, deadline_ns)

    def advance(self, duration_ns: int) -> None:
        """Let `duration_ns` pass, as work or a late wake-up would."""
        if duration_ns < 0:
            raise ValueError(f"a duration of {duration_ns} ns found, expected at least 0: time does not go backwards")
        self._now_ns += duration_ns

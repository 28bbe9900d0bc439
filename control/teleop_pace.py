"""When a teleoperator's own process reads it: once per tick of the loop, shortly before the loop looks.

Some drivers count their reads (a key held down makes lerobot's rover faster with every one), so a device is read as
often as lerobot-record would, whatever the loop misses. The loop notes when it takes a value; its ticks are periodic,
and from one of them follow those to come.
"""

from __future__ import annotations

from collections import deque

# Between a read and the loop's look: what waking up may take at normal priority, and what the looks differ by.
_MARGIN_NS = 4_000_000
_REMEMBERED = 16


class ReadPace:
    """One device's. Times are CLOCK_MONOTONIC.

    Args:
        period_ns: of the loop's ticks.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._took_ns = deque([0], maxlen=_REMEMBERED)

    def next_ns(self, began_ns: int, ended_ns: int, taken_ns: int) -> int:
        """When the next read is to begin.

        Args:
            began_ns, ended_ns: of the last read.
            taken_ns: when the loop took a value last; 0: it has not begun.
        """
        period_ns = self._period_ns
        self._took_ns.append(ended_ns - began_ns)
        if not taken_ns:
            return began_ns + period_ns
        lead_ns = min(_MARGIN_NS + max(self._took_ns), period_ns)
        # The first of the loop's looks that another read may serve: this one has served its own, even half a tick late.
        earliest_ns = began_ns + period_ns // 2
        ticks = (earliest_ns + lead_ns - taken_ns) // period_ns + 1
        return taken_ns + ticks * period_ns - lead_ns

"""How much the link to the writer carries: measured before the first episode, by one clock, on one machine.

Bursts of filler, each four times as large as the one before, until one takes long enough to judge by. The writer says
after every message how much has arrived, so that a link too slow for even the first burst is measured as well.
"""

from __future__ import annotations

from collections.abc import Callable

MESSAGE_BYTES = 256 << 10
# An empty message first: its way there and back is no fault of the link's rate.
_BURSTS = (0, 1, 4, 16, 64, 256)
_LONG_ENOUGH_S = 0.2
_LIMIT_S = 4.0


class LinkProbe:
    """Pure: says what to send, is told what arrived.

    Args:
        clock: seconds that never step.

    Attributes:
        bytes_per_s: the result, once there is one.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.bytes_per_s: float | None = None
        self._clock = clock
        self._round_trip_s = 0.0
        self._began_s = clock()
        self._burst = -1
        self._burst_began_s = self._began_s
        self._acknowledged = self._burst_starts_at = 0
        self._answers = self._expected_answers = 0

    def due(self) -> int | None:
        """How many messages to send now, each with MESSAGE_BYTES; 0 stands for one that is empty. None: wait."""
        now_s = self._clock()
        if self.bytes_per_s is not None:
            return None
        if now_s - self._began_s > _LIMIT_S:
            self._conclude(now_s)
            return None
        if self._answers < self._expected_answers:
            return None
        took_s = now_s - self._burst_began_s
        if self._burst == 0:
            self._round_trip_s = took_s
        last = self._burst == len(_BURSTS) - 1
        if self._burst > 0 and (last or took_s - self._round_trip_s >= _LONG_ENOUGH_S):
            self._conclude(now_s)
            return None
        self._burst += 1
        self._burst_began_s, self._burst_starts_at = now_s, self._acknowledged
        self._expected_answers += max(_BURSTS[self._burst], 1)
        return _BURSTS[self._burst]

    def arrived(self, received_bytes: int) -> None:
        """The writer has received so much since the first message."""
        self._answers += 1
        self._acknowledged = max(self._acknowledged, received_bytes)

    def _conclude(self, now_s: float) -> None:
        carried = self._acknowledged - self._burst_starts_at
        self.bytes_per_s = carried / max(now_s - self._burst_began_s - self._round_trip_s, 1e-6)

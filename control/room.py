"""Whether the log has room for another episode, or for an unpaced frame, and when it is no use to wait or try again."""

from __future__ import annotations

from transport.errors import OnbeatError
from transport.ring import LogRing

# An episode may begin while the ring is filled up to this part.
_DRAINED = 0.5
# An unpaced loop waits above this part, so that it neither spills nor alarms anybody: both begin at a half.
_UNPACED = 0.4
# The writer may take as long as it likes to catch up, but not stand still for so long.
_STANDSTILL_NS = 120 * 1_000_000_000
# So many takes in a row that ended for want of room mean that the load does not fit, not that the writer was away.
_TAKES = 3
_ADVICE = (
    "use a faster codec (--dataset.rgb_encoder.vcodec), fewer or smaller cameras, a lower --dataset.fps, or more room "
    "(--publisher.ring_s, --publisher.spill_max_gb)"
)


class Room:
    """One session's."""

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring
        self._takes_without_room = 0
        self._standstill: tuple[int, int] | None = None

    def take_ended(self, *, full: bool) -> None:
        """An episode ended; `full` if it was for want of room.

        Raises:
            OnbeatError: that happened too often in a row.
        """
        self._takes_without_room = self._takes_without_room + 1 if full else 0
        self._standstill = None
        if self._takes_without_room >= _TAKES:
            raise OnbeatError(
                f"{_TAKES} takes in a row ended because ring and spill file were full: the writer, or the link to it, "
                f"cannot take this load; {_ADVICE}"
            )

    def is_short(self, now_ns: int) -> bool:
        """Whether the next episode has to wait.

        After a take that ended for want of room, the spill file has to be drained too: otherwise the next take would
        end even sooner.

        Raises:
            OnbeatError: the writer has stood still for two minutes.
        """
        ring = self._ring
        waiting = ring.head_seq - ring.durable_seq if self._takes_without_room else ring.fill_slots
        return self._waits(waiting, _DRAINED, now_ns)

    def holds_back(self, now_ns: int) -> bool:
        """Whether an unpaced loop has to wait before its next frame: the writer sets its pace.

        Raises:
            OnbeatError: the writer has stood still for two minutes.
        """
        return self._waits(self._ring.fill_slots, _UNPACED, now_ns)

    def _waits(self, waiting: int, part: float, now_ns: int) -> bool:
        durable_seq = self._ring.durable_seq
        if waiting <= self._ring.capacity * part:
            self._standstill = None
            return False
        if self._standstill is None or durable_seq != self._standstill[0]:
            self._standstill = durable_seq, now_ns
        elif now_ns - self._standstill[1] > _STANDSTILL_NS:
            raise OnbeatError(f"the writer stands still and {waiting} records wait for it; {_ADVICE}")
        return True

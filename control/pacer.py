"""When ticks start: on an absolute grid `t0 + k/fps`, which no overrun can shift."""

from __future__ import annotations

from dataclasses import dataclass

from control.clock import Clock
from transport.errors import UsageError

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick of the loop.

    Attributes:
        index: the slot of the grid, from 0; strictly increasing, with a jump where slots were missed.
        scheduled_ns: the slot's time, `t0 + index * 10**9 // fps`. Unpaced, the time of the start.
        started_ns: when the tick really started, never before `scheduled_ns`.
        missed_slots: slots between the previous tick and this one that no tick started in.
    """

    index: int
    scheduled_ns: int
    started_ns: int
    missed_slots: int

    @property
    def lateness_ns(self) -> int:
        """How long after its slot the tick started; never negative."""
        return self.started_ns - self.scheduled_ns


class Pacer:
    """Starts ticks on their grid.

    A tick that overruns into the following slots costs those slots: they are counted, and the next tick starts on the
    next grid point. Nothing is caught up in a burst. Slots are computed from their index, so rounding never adds up.

    Args:
        fps: ticks per second; 0 for unpaced, where `wait` never sleeps and no slot can be missed.

    Raises:
        UsageError: `fps` is negative.
    """

    def __init__(self, fps: int, clock: Clock) -> None:
        if fps < 0:
            raise UsageError(f"fps {fps} found, expected a whole number of frames per second, or 0 for unpaced")
        self.fps = self._fps = fps
        self._clock = clock
        self._t0_ns = 0
        self._next_index = 0

    def start(self, t0_ns: int | None = None) -> None:
        """Begin a new grid, with tick 0 at `t0_ns` (CLOCK_MONOTONIC), or now."""
        self._t0_ns = self._clock.now_ns() if t0_ns is None else t0_ns
        self._next_index = 0

    def slot_ns(self, index: int) -> int:
        """The time of a slot of the current grid, CLOCK_MONOTONIC. Not defined when unpaced."""
        return self._t0_ns + index * SECOND_NS // self._fps

    def wait(self) -> Tick:
        """Sleep until the next slot and return its tick.

        Slot 0 is never skipped, as `start` defines it: called late for it, `wait` returns at once with that lateness.
        """
        if not self._fps:
            return self._unpaced()
        expected = self._next_index
        index = expected if expected == 0 else max(expected, self._first_slot_from(self._clock.now_ns()))
        scheduled_ns = self.slot_ns(index)
        self._clock.sleep_until_ns(scheduled_ns)
        self._next_index = index + 1
        return Tick(index, scheduled_ns, self._clock.now_ns(), index - expected)

    def _first_slot_from(self, now_ns: int) -> int:
        # floor(k * 1e9 / fps) >= elapsed for whole `elapsed` exactly when k * 1e9 / fps >= elapsed: round up.
        return -(-(now_ns - self._t0_ns) * self._fps // SECOND_NS)

    def _unpaced(self) -> Tick:
        index = self._next_index
        self._next_index = index + 1
        now_ns = self._clock.now_ns()
        return Tick(index, now_ns, now_ns, 0)

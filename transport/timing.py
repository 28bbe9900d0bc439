"""What the loop's times amount to: three figures with three names, defined once for everybody who reports them.

lateness      started - scheduled, on the absolute grid. A slot in which no tick started counts too, with the start of
              the next tick minus the slot's own time: leaving it out would make the worst ticks vanish.
period error  |interval between two tick starts - 1/fps|, within one episode. What a training set feels as jitter.
action delay  action sent - scheduled: how old the slot is when the robot hears of it.

All are arrays of whole nanoseconds. Pure; numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]

# A percentile needs about ten values above it to mean anything.
TICKS_FOR_P999 = 10_000


def lateness_ns(
    scheduled_ns: Nanoseconds, started_ns: Nanoseconds, missed_slots: NDArray[np.integer], fps: int
) -> Nanoseconds:
    """Lateness of every slot of one episode, in order: those missed before a tick, then the tick's own.

    Args:
        scheduled_ns, started_ns, missed_slots: one value per tick.
        fps: of the grid; 0 for unpaced, where no slot can be missed.
    """
    missed = np.asarray(missed_slots, np.int64)
    late = started_ns - scheduled_ns
    if not fps or not missed.any():
        return late
    ticks = np.repeat(np.arange(len(late)), missed + 1)
    ends = np.cumsum(missed + 1)
    slots_before = np.repeat(ends, missed + 1) - 1 - np.arange(len(ticks))
    every_slot: Nanoseconds = late[ticks] + slots_before * 1_000_000_000 // fps
    return every_slot


def period_error_ns(started_ns: Nanoseconds, fps: int) -> Nanoseconds:
    """One value per interval of one episode, so one fewer than ticks; empty when unpaced."""
    if not fps:
        return started_ns[:0]
    error_ns: Nanoseconds = np.abs(np.diff(started_ns) - 1_000_000_000 // fps)
    return error_ns


def achieved_fps(started_ns: Nanoseconds) -> float | None:
    """Ticks per second of one episode; None before its second tick."""
    if len(started_ns) < 2 or started_ns[-1] == started_ns[0]:
        return None
    return float((len(started_ns) - 1) * 1e9 / (started_ns[-1] - started_ns[0]))


@dataclass(frozen=True, slots=True)
class Figures:
    """Percentiles in microseconds.

    Attributes:
        count: of values.
        p999: None when there are fewer than `TICKS_FOR_P999` values.
    """

    count: int
    p50: float
    p99: float
    p999: float | None
    max: float


def figures_us(values_ns: Nanoseconds) -> Figures | None:
    """The figures that are reported of lateness, period error and action delay; None without values."""
    if not len(values_ns):
        return None
    p50, p99, p999 = np.percentile(values_ns, [50, 99, 99.9]) / 1e3
    enough = len(values_ns) >= TICKS_FOR_P999
    return Figures(
        len(values_ns), float(p50), float(p99), float(p999) if enough else None, float(values_ns.max() / 1e3)
    )

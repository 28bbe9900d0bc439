"""What the ticks of a run say about its timing, from start times alone: the same for a loop that keeps a grid and for
one that does not (`scripts/bench.py` compares both).

The grid of an episode begins at its first tick's slot and never moves. Percentiles and period error are as
`transport.timing` defines them. Beyond those:

    lateness       for every slot of the grid: the first tick start at or after it, minus the slot. A slot in which no
                   tick started counts with the next start, so skipping ticks makes nothing look better
    action         the same with the time at which that tick's action was sent
    missed ticks   slots in which no tick started
    drift          the last tick's start minus the time that its row claims (rows count frames: frame_index / fps)
    effective fps  intervals per second of recording
    gap            from the end of an episode's last tick period to the first tick of the next episode
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control.pacer import SECOND_NS
from transport.timing import Figures, figures_us, period_error_ns


@dataclass(frozen=True, slots=True)
class Spreads:
    """The values behind the percentiles, int64 nanoseconds; so that those of several runs can be taken together."""

    period_error: NDArray[np.int64]
    lateness: NDArray[np.int64]
    action: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TickFigures:
    """See the module's text.

    Attributes:
        drift_s: of the episode in which it is greatest.
        effective_fps: None before the second tick.
        gap_ms: (median, greatest); None with a single episode.
    """

    ticks: int
    episodes: int
    missed_ticks: int
    effective_fps: float | None
    drift_s: float
    period_error_us: Figures | None
    lateness_us: Figures | None
    action_us: Figures | None
    gap_ms: tuple[float, float] | None


def figures(ticks: NDArray[np.void], fps: int) -> TickFigures:
    """Figures of a run.

    Args:
        ticks: dtype `load_trace.TICK_DTYPE`, in order.
        fps: of the grid.
    """
    period_ns = SECOND_NS / fps
    spreads = spreads_ns(ticks, fps)
    gaps = []
    missed, intervals, span_ns, drift_ns = 0, 0, 0, 0.0
    last_start_ns: int | None = None
    numbers = np.unique(ticks["episode"])
    for number in numbers:
        episode = ticks[ticks["episode"] == number]
        starts = episode["started_ns"]
        t0_ns = int(episode["scheduled_ns"][0])
        if last_start_ns is not None:
            gaps.append((int(starts[0]) - last_start_ns - period_ns) / 1e6)
        last_start_ns = int(starts[-1])
        missed += missed_slots(episode, fps)
        intervals += len(starts) - 1
        span_ns += last_start_ns - int(starts[0])
        drift_ns = max(drift_ns, last_start_ns - t0_ns - (len(starts) - 1) * period_ns, key=abs)
    return TickFigures(
        ticks=len(ticks),
        episodes=len(numbers),
        missed_ticks=missed,
        effective_fps=intervals * SECOND_NS / span_ns if span_ns else None,
        drift_s=drift_ns / SECOND_NS,
        period_error_us=figures_us(spreads.period_error),
        lateness_us=figures_us(spreads.lateness),
        action_us=figures_us(spreads.action),
        gap_ms=(float(np.median(gaps)), max(gaps)) if gaps else None,
    )


def spreads_ns(ticks: NDArray[np.void], fps: int, kept: NDArray[np.bool_] | None = None) -> Spreads:
    """Period error, lateness and action delay of every interval and slot; `ticks` as for `figures`.

    Args:
        kept: of which ticks; the slots and both intervals of the others are left out. None: of all.
    """
    kept = np.ones(len(ticks), bool) if kept is None else kept
    errors: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    lateness, action = errors[:], errors[:]
    for number in np.unique(ticks["episode"]):
        mine = ticks["episode"] == number
        episode, keep = ticks[mine], kept[mine]
        starts = episode["started_ns"]
        errors.append(period_error_ns(starts, fps)[keep[1:] & keep[:-1]])
        slots = _slots(int(episode["scheduled_ns"][0]), int(starts[-1]), fps)
        served = np.searchsorted(starts, slots)
        slots, served = slots[keep[served]], served[keep[served]]
        lateness.append(starts[served] - slots)
        action.append(episode["action_sent_ns"][served] - slots)
    return Spreads(np.concatenate(errors), np.concatenate(lateness), np.concatenate(action))


def missed_slots(ticks: NDArray[np.void], fps: int, excused_ns: NDArray[np.int64] | None = None) -> int:
    """In how many slots no tick started; `ticks` as for `figures`.

    Args:
        excused_ns: of each tick, how much earlier it might have started; slots that it would then have kept are not
            counted. None: nothing.
    """
    excused_ns = np.zeros(len(ticks), np.int64) if excused_ns is None else excused_ns
    missed = 0
    for number in np.unique(ticks["episode"]):
        mine = ticks["episode"] == number
        starts = ticks["started_ns"][mine]
        slots = _slots(int(ticks["scheduled_ns"][mine][0]), int(starts[-1]), fps)
        served = np.searchsorted(starts, slots)[:-1]
        missed += int((starts[served] - excused_ns[mine][served] >= slots[1:]).sum())
    return missed


def _slots(t0_ns: int, last_start_ns: int, fps: int) -> NDArray[np.int64]:
    """The times of all slots up to the last tick's."""
    # The greatest k with k * 10**9 // fps <= last_start_ns - t0_ns, and one more: slots are rounded down.
    count = ((last_start_ns - t0_ns + 1) * fps - 1) // SECOND_NS + 1
    return t0_ns + np.arange(count, dtype=np.int64) * SECOND_NS // fps

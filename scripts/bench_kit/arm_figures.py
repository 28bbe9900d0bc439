"""What the logs of emulated arms and a sidecar say about a session, and what is asked of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.emulators.feetech.history import Access
from transport.timing import Figures, Nanoseconds, figures_us, lateness_ns

# What cameras may add to the loop's lateness.
MAX_ADDED_US = 200.0
# A failed read may cost this part of a tick.
_LIMIT_PART = 4
_NOT_MET = "NOT MET"


@dataclass(frozen=True, slots=True)
class ArmSession:
    """One session's figures.

    Attributes:
        age: from the request for the follower's positions to the goal that answers it, both as the arm saw them.
        lateness, missed_slots, work_us: onbeat only; `work_us` is the 99th percentile of a tick's work.
        failed_reads: reads that onbeat flagged.
        silent_reads: requests to which the arms kept silent, while the session recorded.
        stale: pictures flagged as too old.
        problems: what `onbeat verify` found, every picture decoded.
    """

    name: str
    ticks: int
    age: Figures | None
    lateness: Figures | None = None
    missed_slots: int = 0
    work_us: float = 0.0
    failed_reads: int = 0
    silent_reads: int = 0
    stale: int = 0
    problems: Sequence[str] = ()


def ages_ns(reads: Sequence[Access], goals: Sequence[Access]) -> Nanoseconds:
    """For each goal, how long before it the newest read of the positions was asked for; both in order of time."""
    if not reads:
        return np.array([], np.int64)
    times = np.array([read.time_ns for read in reads], np.int64)
    sent = np.array([goal.time_ns for goal in goals], np.int64)
    newest = np.searchsorted(times, sent, side="right") - 1
    found: Nanoseconds = (sent - times[newest])[newest >= 0]
    return found


def session(
    name: str,
    fps: int,
    told: Mapping[str, NDArray[Any]] | None,
    reads: Sequence[Access],
    leader_reads: Sequence[Access],
    goals: Sequence[Access],
) -> ArmSession:
    """Figures of one session.

    Args:
        told: the sidecar's columns without `onbeat.` in front; None for stock lerobot, which has none.
        reads, leader_reads: of the positions, by the arm that was asked.
        goals: what the follower was told.
    """
    age = figures_us(ages_ns(reads, goals))
    if told is None:
        return ArmSession(name, len(goals), age)
    flat = {key: values.ravel() for key, values in told.items() if values.ndim < 3}
    began_ns, ended_ns = flat["observed_ns"][0], flat["observed_ns"][-1] + 10**9 // fps
    both = (*reads, *leader_reads)
    silent = sum(each.fault == "silence" and bool(began_ns <= each.time_ns < ended_ns) for each in both)
    work_ns = 1000 * (flat["teleop_us"].astype(np.int64) + flat["step_us"])
    return ArmSession(
        name,
        len(flat["started_ns"]),
        age,
        figures_us(lateness_ns(flat["scheduled_ns"], flat["started_ns"], flat["missed_slots"], fps)),
        int(flat["missed_slots"].sum()),
        float(np.percentile(work_ns, 99)) / 1e3,
        int(flat["robot_read_failed"].sum() + flat["teleop_read_failed"].sum()),
        silent,
        int(sum(values.sum() for key, values in flat.items() if key.endswith(".stale"))),
    )


def predicted_missed(silent_reads: int, work_us: float, fps: int) -> int:
    """Slots that so many silent reads cost, each a quarter of a tick on top of a tick's work without faults."""
    tick_us = 1e6 / fps
    return silent_reads * int((work_us + tick_us / _LIMIT_PART) // tick_us)


def verdicts(
    without: ArmSession, with_cameras: ArmSession, stock: ArmSession | None, silent: ArmSession, fps: int
) -> list[str]:
    """One line for each thing that is asked, with figures and `ok` or `NOT MET` in front."""
    lines = []
    if without.lateness and with_cameras.lateness:
        values = [
            (each.p999, "p99.9") if each.p999 is not None else (each.p99, "p99")
            for each in (with_cameras.lateness, without.lateness)
        ]
        added_us = values[0][0] - values[1][0]
        lines.append(
            _line(
                added_us <= MAX_ADDED_US,
                f"cameras add {added_us:.0f} µs to the lateness {values[0][1]}, at most {MAX_ADDED_US:.0f}",
            )
        )
    if stock and stock.age and with_cameras.age:
        ours, theirs = with_cameras.age, stock.age
        lines.append(
            _line(
                ours.p50 <= theirs.p50,
                f"action sent {ours.p50:.0f} µs after the observation (p99 {ours.p99:.0f}), stock's "
                f"{theirs.p50:.0f} ({theirs.p99:.0f})",
            )
        )
    problems = [problem for each in (without, with_cameras, silent) for problem in each.problems]
    lines.append(_line(not problems, "; ".join(problems) or "every row has its pictures, and all of them decode"))
    predicted = predicted_missed(silent.silent_reads, with_cameras.work_us, fps)
    lines.append(
        _line(
            silent.missed_slots - with_cameras.missed_slots <= predicted,
            f"{silent.silent_reads} silent reads ({silent.failed_reads} flagged): {silent.missed_slots} slots missed, "
            f"{predicted} predicted beyond the {with_cameras.missed_slots} of the same session without them",
        )
    )
    return lines


def all_met(lines: Sequence[str]) -> bool:
    """Whether every one of the `verdicts` is."""
    return not any(line.startswith(_NOT_MET) for line in lines)


def _line(met: bool, text: str) -> str:
    return f"{'ok     ' if met else _NOT_MET}  {text}"

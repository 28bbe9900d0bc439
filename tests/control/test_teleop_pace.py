"""A device is read once per tick of the loop, and shortly before the loop looks: simulated, in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.teleop_pace import ReadPace

MS = 1_000_000


@dataclass
class Run:
    """Reads and looks on one time line.

    Attributes:
        began_ns: of each read.
        ages_ns: by look, how old the newest value is; a value is as old as the end of its read.
        served: by look, the number of the read that it took.
    """

    began_ns: list[int] = field(default_factory=list)
    ages_ns: list[int] = field(default_factory=list)
    served: list[int] = field(default_factory=list)


def simulate(looks_ns: list[int], period_ns: int, read_ns: int, wake_late_ns: int = 0) -> Run:
    """A device whose read takes `read_ns`, in a process that wakes `wake_late_ns` after it wanted to."""
    pace, run = ReadPace(period_ns), Run()
    next_ns, ended = 0, list[int]()
    pending = list(looks_ns)
    taken_ns = 0
    while pending:
        began = max(next_ns + wake_late_ns, ended[-1] if ended else 0)
        end = began + read_ns
        run.began_ns.append(began)
        while pending and pending[0] < end:
            taken_ns = pending.pop(0)
            run.ages_ns.append(taken_ns - ended[-1])
            run.served.append(len(ended))
        ended.append(end)
        next_ns = pace.next_ns(began, end, taken_ns)
    return run


@pytest.mark.parametrize("fps", [10, 30, 60, 100])
@pytest.mark.parametrize("read_ms", [0.1, 2])
def test_the_loop_gets_a_new_value_every_tick_that_is_some_milliseconds_old(fps: int, read_ms: float) -> None:
    period, read = 10**9 // fps, int(read_ms * MS)
    run = simulate([10**9 + tick * period for tick in range(200)], period, read, wake_late_ns=MS // 2)
    steps = [b - a for a, b in zip(run.served[2:], run.served[3:], strict=False)]
    assert set(steps) == {1}, "each read is taken, and by one tick"
    assert max(run.ages_ns[2:]) <= 4 * MS
    before_it_looked = sum(began < 10**9 for began in run.began_ns)
    assert len(run.began_ns) - before_it_looked <= 201


def test_after_a_pause_the_reads_follow_the_new_grid() -> None:
    period = 33_333_333
    first = [10**9 + tick * period for tick in range(50)]
    second = [first[-1] + 10**9 + 11 * MS + tick * period for tick in range(50)]
    run = simulate([*first, *second], period, MS)
    assert max(run.ages_ns[52:]) <= 4 * MS
    assert max(run.ages_ns) <= period + 4 * MS, "a value is never much older than a tick"


@given(
    st.integers(2 * MS, 100 * MS), st.integers(0, 120 * MS), st.integers(0, 20 * MS), st.lists(st.integers(1, 300 * MS))
)
def test_a_device_is_never_read_more_often_than_once_a_tick(
    period: int, read: int, late: int, gaps_ns: list[int]
) -> None:
    looks = [10**9]
    for gap in gaps_ns:
        looks.append(looks[-1] + gap)
    run = simulate(looks, period, read, late)
    for a, b in zip(run.began_ns, run.began_ns[1:], strict=False):
        assert b - a >= period // 2


@given(st.integers(5 * MS, 100 * MS), st.floats(0, 3), st.integers(0, 2 * MS))
def test_over_many_ticks_there_are_no_more_reads_than_ticks(period: int, part: float, late: int) -> None:
    run = simulate([10**9 + tick * period for tick in range(100)], period, int(part * period), late)
    reads = [began for began in run.began_ns if began >= 10**9]
    assert len(reads) <= 101

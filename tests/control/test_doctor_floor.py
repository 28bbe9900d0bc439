from __future__ import annotations

import gc
import os

from control import kernel
from control.config import TimingFlags
from control.doctor_floor import HZ, measure_floor, pace
from transport.timing import TICKS_FOR_P999

OFF = TimingFlags(realtime="off", lock_memory="off", cpu_awake="off")


def test_five_seconds_are_enough_for_a_p999() -> None:
    assert HZ * 5 >= TICKS_FOR_P999


def test_every_slot_of_the_grid_counts_whether_it_was_met_or_missed() -> None:
    figures, missed, fifo, protections = pace(0.2, OFF, hz=1000)
    assert 200 <= figures.count <= 200 + missed
    assert 0 <= figures.p50 <= figures.p99 <= figures.max
    assert figures.p999 is None
    assert not fifo
    assert protections["timer slack 1 ns"] == "yes"


def test_the_calling_thread_is_left_as_it_was() -> None:
    def state() -> tuple[object, ...]:
        return os.sched_getscheduler(0), os.sched_getaffinity(0), kernel.timer_slack_ns(), gc.isenabled()

    before = state()
    pace(0.02, OFF, hz=1000)
    assert state() == before


def test_the_floor_is_measured_idle_and_beside_busy_processes() -> None:
    said: list[str] = []
    floor = measure_floor(0.1, TimingFlags(), said.append)
    assert {run.loaded for run in floor.runs} == {False, True}
    # Where SCHED_FIFO is granted it is measured with and without, else once.
    granted = any(said == "yes" for name, said in floor.protections.items() if name.startswith("SCHED_FIFO"))
    assert [run.fifo for run in floor.runs] == ([True, False] * 2 if granted else [False, False])
    assert floor.worst.loaded
    assert floor.worst.fifo is granted
    assert len(said) == len(floor.runs)
    assert all(run.lateness_us.count >= 0.1 * HZ for run in floor.runs)

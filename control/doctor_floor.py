"""The wake-up floor of this machine: a bare pacer with nothing in the tick, idle and beside a busy process a processor.

Every run is a process of its own, set up as the loop is, so that what it obtained is what a recording would obtain.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from control.clock import SystemClock
from control.config import TimingFlags
from control.doctor_figures import Floor, FloorRun, Load
from control.pacer import Pacer
from control.realtime import RealTime
from transport.errors import OnbeatError
from transport.link import Link, child_link, spawn
from transport.ring import LogRing
from transport.schema import LoopFlag
from transport.timing import Figures, figures_us, lateness_ns

# So many ticks a second that a p99.9 can be given after five seconds.
HZ = 2000
_PACER, _BUSY = "control.doctor_floor", "control.doctor_busy"
_START_S = 30.0


def measure_floor(seconds: float, timing: TimingFlags, progress: Callable[[str], None]) -> Floor:
    """Run the pacer for `seconds` each: idle and loaded, at normal priority and, where it is granted, with SCHED_FIFO.

    Args:
        timing: spinning, priority and processors; what may be switched off is tried all the same, to know whether it
            is granted.

    Raises:
        OnbeatError: a run ended without a result.
    """
    runs: list[FloorRun] = []
    protections: dict[str, str] = {}
    for loaded in (False, True):
        for realtime in ("auto", "off"):
            if realtime == "off" and not any(run.fifo for run in runs):
                continue  # the run before was at normal priority already
            progress(f"wake-up floor, {'loaded' if loaded else 'idle'}, {_priority(realtime, protections)}")
            tried = replace(timing, realtime=realtime, lock_memory="auto", cpu_awake="auto")
            run, obtained = _run(seconds, tried, loaded=loaded)
            runs.append(run)
            protections = protections or obtained
    return Floor(tuple(runs), protections)


def pace(seconds: float, timing: TimingFlags, hz: int = HZ) -> tuple[Figures, int, bool, dict[str, str]]:
    """Pace an empty tick in the calling thread: lateness, missed slots, whether FIFO was obtained, all protections."""
    ticks = max(int(seconds * hz), 2)
    scheduled, started = np.zeros(ticks, np.int64), np.zeros(ticks, np.int64)
    missed = np.zeros(ticks, np.uint32)
    ring = LogRing.create(Load(0, 0, 0, hz).schema, seconds=0.01, fps=hz)
    clock = SystemClock(int(timing.spin_us * 1000))
    pacer = Pacer(hz, clock)
    with RealTime(timing, ring, paced=True) as real_time:
        real_time.before_episode()
        real_time.episode_begins()
        pacer.start()
        count = 0
        # Missed slots use time up as well: the run ends on the grid, not after a number of ticks.
        for index in range(ticks):
            tick = pacer.wait()
            scheduled[index], started[index], missed[index] = tick.scheduled_ns, tick.started_ns, tick.missed_slots
            count = index + 1
            if tick.index >= ticks - 1:
                break
        real_time.episode_ended()
        fifo = LoopFlag.FIFO in real_time.flags
    late = figures_us(lateness_ns(scheduled[:count], started[:count], missed[:count], hz))
    assert late is not None
    return late, int(missed.sum()), fifo, real_time.report


def _run(seconds: float, timing: TimingFlags, *, loaded: bool) -> tuple[FloorRun, dict[str, str]]:
    wanted = {"timing": asdict(timing), "seconds": seconds}
    with _busy(len(os.sched_getaffinity(0)) if loaded else 0), _child(_PACER, wanted) as link:
        found = _answer(link, seconds * 10 + _START_S)
    figures = Figures(**found["lateness_us"])
    return FloorRun(loaded, found["fifo"], HZ, found["missed"], figures), found["protections"]


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """`count` processes that use a processor each, once all of them have begun."""
    with ExitStack() as children:
        for link in [children.enter_context(_child(_BUSY, {})) for _ in range(count)]:
            _answer(link, _START_S)
        yield


@contextmanager
def _child(module: str, config: dict[str, Any]) -> Iterator[Link]:
    process, link = spawn(module, config, die_with_parent=signal.SIGKILL)
    try:
        yield link
    finally:
        process.kill()
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired as error:
            raise OnbeatError(f"process {process.pid} does not end; the machine is stuck") from error
        link.close()


def _answer(link: Link, limit_s: float) -> dict[str, Any]:
    try:
        answer = link.receive(limit_s)
    except TimeoutError as error:
        raise OnbeatError(
            f"measuring the wake-up floor took longer than {limit_s:g} s; is the machine stuck?"
        ) from error
    if answer is None:
        raise OnbeatError("the process that measures the wake-up floor ended early; see its message above")
    return answer[0]


def _priority(realtime: str, known: dict[str, str]) -> str:
    if realtime == "off":
        return "normal priority"
    name = next((name for name in known if name.startswith("SCHED_FIFO")), None)
    return "SCHED_FIFO if granted" if name is None else "SCHED_FIFO" if known[name] == "yes" else "normal priority"


def _main() -> None:
    link, config, _ = child_link()
    late, missed, fifo, protections = pace(config["seconds"], TimingFlags(**config["timing"]))
    link.send({"lateness_us": asdict(late), "missed": missed, "fifo": fifo, "protections": protections})


if __name__ == "__main__":
    _main()

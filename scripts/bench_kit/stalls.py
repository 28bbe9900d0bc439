"""Which ticks the machine itself disturbed: what a run's figures are without them.

On a machine that others share, a loop is late when the hypervisor runs somebody else, and no priority helps. A watch on
each processor (`run_stalls`) says when that was. A tick is disturbed if a processor of the measured ones stood still
between the slot of the tick before it and its own start: its slot, because a tick that a stall made late ends late, and
may cost the next one. Nothing else is left out, and how many are left out is told. If processors that run nothing of
what is measured stand still as long, it is not the load that stops them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.load_figures import Spreads, missed_slots, spreads_ns
from scripts.bench_kit.run_stalls import PERIOD_NS
from transport.timing import figures_us

_LIMIT_S = 20.0
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Stalls:
    """What the watches saw; `spans` is set when they have ended.

    Attributes:
        spans: int64 nanoseconds, CLOCK_MONOTONIC, shape (n, 2): from when to when a measured processor stood still.
        elsewhere: the same of each other processor.
    """

    spans: NDArray[np.int64]
    elsewhere: list[NDArray[np.int64]] = field(default_factory=list)


@dataclass(frozen=True)
class Undisturbed:
    """A run without the ticks that the machine disturbed.

    Attributes:
        disturbed_ticks: that were left out.
        missed_slots: of all ticks, those that would have been missed also if nothing had stood still.
        stalls, longest_us: of the measured processors, between the first tick and the last.
        still_ms: for how long one of them stood still, on average, in ms.
        elsewhere_ms: the same of the other processors; None if there are none.
    """

    spreads: Spreads
    disturbed_ticks: int
    missed_slots: int
    stalls: int
    longest_us: float
    still_ms: float
    elsewhere_ms: float | None

    def to_json(self) -> dict[str, Any]:
        spreads = {f"{each.name}_us": figures_us(getattr(self.spreads, each.name)) for each in fields(self.spreads)}
        return {
            "disturbed_ticks": self.disturbed_ticks,
            "missed_slots": self.missed_slots,
            "stalls": self.stalls,
            "longest_us": self.longest_us,
            "still_ms": self.still_ms,
            "elsewhere_ms": self.elsewhere_ms,
            **{name: None if figures is None else asdict(figures) for name, figures in spreads.items()},
        }


@contextmanager
def watched(cores: frozenset[int], others: frozenset[int] = frozenset()) -> Iterator[Stalls]:
    """Watch the measured processors, none or more, and others; needs the right to real-time priority.

    Raises:
        RuntimeError: a watch could not start.
    """
    found = Stalls(np.zeros((0, 2), np.int64))
    with tempfile.TemporaryDirectory(prefix="stalls") as name, ExitStack() as stack:
        files = {core: Path(name) / f"{core}.npy" for core in sorted(cores | others)}
        watches = [stack.enter_context(_watch(core, file)) for core, file in files.items()]
        for watch in watches:
            assert watch.stdout is not None
            if watch.stdout.readline() != b"watching\n":
                raise RuntimeError("a watch could not start; --stalls needs real-time priority, as root has it")
        yield found
        for watch in watches:
            watch.terminate()
        for watch in watches:
            watch.wait(_LIMIT_S)
        found.spans = np.concatenate([found.spans, *(np.load(files[core]) for core in sorted(cores))])
        found.elsewhere = [np.load(files[core]) for core in sorted(others)]


@contextmanager
def _watch(core: int, file: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench_kit.run_stalls", str(core), str(file)],
        stdout=subprocess.PIPE,
        cwd=_REPOSITORY,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def disturbed(ticks: NDArray[np.void], spans: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a processor stood still between the slot of the tick before (its own, for the first) and its start.

    Args:
        ticks: dtype `load_trace.TICK_DTYPE`, in order.
        spans: as in `Stalls`, in any order.
    """
    starts, since = ticks["started_ns"], _since(ticks)
    # Spans that began before the tick's start, less those that had ended by then.
    begun = np.searchsorted(np.sort(spans[:, 0]), starts, side="left")
    ended = np.searchsorted(np.sort(spans[:, 1]), since, side="right")
    hit: NDArray[np.bool_] = begun > ended
    return hit


def stood_still_ns(ticks: NDArray[np.void], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """For how long at least a processor stood still in that time, of each tick.

    Args:
        ticks, spans: as for `disturbed`.
    """
    # A watch sleeps at the beginning of what it tells.
    ends = spans[spans[:, 1] - spans[:, 0] > PERIOD_NS] + [PERIOD_NS, 0]
    ends = ends[np.argsort(ends[:, 0])]
    # Several processors at once count once: each goes on where those before it ended.
    until = np.maximum.accumulate(np.r_[0, ends[:, 1]])
    begins = np.maximum(ends[:, 0], until[:-1])
    lengths = np.maximum(ends[:, 1] - begins, 0)
    total = np.r_[0, np.cumsum(lengths)]

    def before(times: NDArray[np.int64]) -> NDArray[np.int64]:
        begun = np.searchsorted(begins, times)
        under_way = np.maximum(np.r_[0, begins + lengths][begun] - times, 0)
        found: NDArray[np.int64] = total[begun] - under_way
        return found

    return before(ticks["started_ns"]) - before(_since(ticks))


def _since(ticks: NDArray[np.void]) -> NDArray[np.int64]:
    """The slot of the tick before, of each tick; its own, for the first of an episode."""
    first = np.r_[True, ticks["episode"][1:] != ticks["episode"][:-1]] if len(ticks) else np.zeros(0, bool)
    due = np.minimum(ticks["scheduled_ns"], ticks["started_ns"])
    return np.where(first, due, np.roll(due, 1))


def undisturbed(ticks: NDArray[np.void], stalls: Stalls, cores: int, fps: int) -> Undisturbed:
    """What is left of a run.

    Args:
        ticks: as for `disturbed`.
        cores: how many processors were measured.
        fps: of the grid.
    """
    hit = disturbed(ticks, stalls.spans)
    during, *elsewhere = (_during(ticks, spans) for spans in (stalls.spans, *stalls.elsewhere))
    return Undisturbed(
        spreads_ns(ticks, fps, kept=~hit),
        int(hit.sum()),
        missed_slots(ticks, fps, excused_ns=stood_still_ns(ticks, stalls.spans)),
        len(during),
        float((during[:, 1] - during[:, 0]).max(initial=0) / 1e3),
        _ms(during) / cores,
        sum(map(_ms, elsewhere)) / len(elsewhere) if elsewhere else None,
    )


def _during(ticks: NDArray[np.void], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those between the first tick and the last."""
    within: NDArray[np.bool_] = (spans[:, 1] > ticks["scheduled_ns"][0]) & (spans[:, 0] < ticks["started_ns"][-1])
    return spans[within]


def _ms(spans: NDArray[np.int64]) -> float:
    return float((spans[:, 1] - spans[:, 0]).sum() / 1e6)

"""How many cameras a system sustains: more and more of them, until pictures are lost or the rate is not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from scripts.bench_kit.loads import BenchLoad
from scripts.bench_kit.runs import Run

_RATE = 0.995
# A writer that falls behind is only lent time by the ring: at this lag it does not sustain the load.
_LAG_S = 1.0


def sustains(run: Run, load: BenchLoad) -> bool:
    """Whether the run lost nothing, kept at least 99.5 % of the rate, and was not living on its buffers."""
    if run.figures is None or run.frames_lost != 0 or run.figures.effective_fps is None:
        return False
    # The number of rows a second of the whole recording: slots that were missed are not recorded.
    return run.figures.effective_fps >= _RATE * load.fps and run.details.get("writer_lag_s", 0.0) <= _LAG_S


def climb(load: BenchLoad, steps: Sequence[int], attempt: Callable[[BenchLoad], Run]) -> int:
    """The most cameras of `steps` (increasing) that are sustained; 0 if not even the first.

    A step that fails is tried once more, because another program may have disturbed it.
    """
    best = 0
    for cameras in steps:
        step = replace(load, cameras=cameras)
        if not any(sustains(attempt(step), step) for _ in range(2)):
            break
        best = cameras
    return best

"""What `scripts/bench.py` measures, and for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

STEP_MS = 4.0
JOINTS = 6


@dataclass(frozen=True, slots=True)
class BenchLoad:
    """One load: the same cameras, bus and codec for whoever records it.

    Attributes:
        busy: processes that do nothing but use a processor.
    """

    cameras: int
    width: int
    height: int
    fps: int
    vcodec: str
    busy: int = 0

    @property
    def name(self) -> str:
        starved = ", starved" if self.busy else ""
        return f"{self.cameras}x{self.width}x{self.height}@{self.fps} {self.vcodec}{starved}"

    @property
    def encoder(self) -> dict[str, Any]:
        """LeRobot's encoder fields: its defaults, with the only preset of h264 that a small machine sustains."""
        return {"vcodec": self.vcodec, "preset": "ultrafast" if self.vcodec == "h264" else 12}

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "encoder": self.encoder, "step_ms": STEP_MS, "joints": JOINTS}


_AV1 = BenchLoad(2, 640, 480, 30, "libsvtav1")
_H264 = BenchLoad(4, 640, 480, 60, "h264")
LOADS = (_AV1, _H264, replace(_H264, cameras=8), BenchLoad(4, 1280, 720, 60, "h264"), replace(_H264, busy=1))
# The one whose ingest is compared with bare encoding.
CPU_LOAD = _H264
LADDERS = (replace(_H264, cameras=1), replace(_AV1, cameras=1), replace(_AV1, cameras=1, fps=60))


@dataclass(frozen=True, slots=True)
class Scale:
    """How long everything takes.

    Attributes:
        repeats: of each load, every system once in each.
        ticks: of onbeat and of the floor.
        lerobot_ticks: as many frames; more, because of a slower loop's grid fewer slots are counted.
        episodes: that the ticks are recorded in.
        ladder_steps: numbers of cameras that are tried, in order.
        ladder_s: of recording for each try.
        ladders: how many of `LADDERS`.
        commits: episodes of which the first and the last commits are timed.
    """

    repeats: int
    ticks: int
    lerobot_ticks: int
    episodes: int
    ladder_steps: tuple[int, ...]
    ladder_s: float
    ladders: int
    commits: int

    def seconds(self, load: BenchLoad) -> tuple[float, float, float]:
        """Of recording: (onbeat, lerobot, floor)."""
        return self.ticks / load.fps, self.lerobot_ticks / load.fps, self.ticks / load.fps


# p99.9 is of the ticks of all repeats together and wants 10,000 of them; of intervals too, of which there is one fewer
# in each episode.
FULL = Scale(3, 3_400, 3_500, 3, (1, 2, 3, 4, 6, 8, 10, 12, 14, 16), 15.0, 3, 300)
QUICK = Scale(1, 240, 240, 3, (), 0.0, 0, 40)
# Starting, importing, measuring the codec, finishing, counting: about so much a run.
OVERHEAD_S = {"onbeat": 14.0, "lerobot": 16.0, "floor": 1.0}


def planned_s(scale: Scale, loads: tuple[BenchLoad, ...]) -> float:
    """About how long a run of the bench takes."""
    once = sum(
        seconds + overhead
        for load in loads
        for seconds, overhead in zip(scale.seconds(load), OVERHEAD_S.values(), strict=True)
    )
    tries = scale.ladders * len(scale.ladder_steps) * 1.2
    ladder = tries * (scale.ladder_s + OVERHEAD_S["onbeat"])
    return scale.repeats * once + ladder + scale.commits * 0.1 + 15

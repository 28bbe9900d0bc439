"""How many pictures cameras deliver, measured before a recording relies on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from control.clock import Clock

# A camera of nominally 30 pictures a second may deliver 29.97, and a window holds one more or less.
_TOLERANCE = 0.9
_FIRST_LOOK_S = 1.0
_SECOND_LOOK_S = 2.0


class Counting(Protocol):
    """What counts pictures, such as `PictureMemory`."""

    @property
    def newest_seq(self) -> int: ...


@dataclass(frozen=True, slots=True)
class CameraRate:
    """What one camera delivered while the loop would have taken `ticks` pictures.

    Attributes:
        fps: delivered pictures per second.
        repeats: ticks that would have got the same picture as the tick before.
    """

    name: str
    fps: float
    repeats: int
    ticks: int

    def suffices(self, fps: int) -> bool:
        """Whether a dataset of so many frames per second gets a new picture in nearly every frame."""
        return self.fps >= _TOLERANCE * fps


def measure_rates(
    cameras: Mapping[str, Counting],
    fps: int,
    seconds: float,
    clock: Clock,
    each_tick: Callable[[], None] = lambda: None,
) -> list[CameraRate]:
    """Look at every camera once a tick, on a grid of `fps`, for so many seconds.

    Args:
        each_tick: called in every tick; may take most of it.
    """
    ticks = max(round(seconds * fps), 1)
    began_ns = now_ns = clock.now_ns()
    first = last = {name: camera.newest_seq for name, camera in cameras.items()}
    repeats = dict.fromkeys(cameras, 0)
    for tick in range(1, ticks + 1):
        each_tick()
        clock.sleep_until_ns(began_ns + tick * 10**9 // fps)
        now_ns = clock.now_ns()
        newest = {name: camera.newest_seq for name, camera in cameras.items()}
        for name, seq in newest.items():
            repeats[name] += seq == last[name]
        last = newest
    passed_s = (now_ns - began_ns) / 1e9
    return [CameraRate(name, (last[name] - first[name]) / passed_s, repeats[name], ticks) for name in cameras]


def slow_cameras(cameras: Mapping[str, Counting], fps: int, clock: Clock) -> list[CameraRate]:
    """Those that deliver too few pictures; takes a second, and two more for those that seem to be slow."""
    rates = measure_rates(cameras, fps, _FIRST_LOOK_S, clock)
    suspects = {rate.name: cameras[rate.name] for rate in rates if not rate.suffices(fps)}
    if not suspects:
        return []
    return [rate for rate in measure_rates(suspects, fps, _SECOND_LOOK_S, clock) if not rate.suffices(fps)]


def complaint(slow: Iterable[CameraRate], fps: int) -> str:
    """One line about cameras that are too slow."""
    found = ", ".join(f"camera {rate.name} delivers {rate.fps:.1f} pictures/s" for rate in slow)
    return (
        f"{found}, expected {fps} for a dataset of {fps} frames/s; check its fps, light and cable, lower "
        "--dataset.fps, or repeat pictures with --timing.allow_slow_cameras=true"
    )

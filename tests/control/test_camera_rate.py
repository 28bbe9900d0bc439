"""Which cameras are too slow, on a clock that stands still."""

from __future__ import annotations

import pytest

from control.camera_rate import complaint, measure_rates, slow_cameras
from control.clock import FakeClock

FPS = 60


class Camera:
    """Delivers at its rate from `from_s` on."""

    def __init__(self, clock: FakeClock, fps: float, from_s: float = 0) -> None:
        self._clock, self._fps, self._from_s = clock, fps, from_s

    @property
    def newest_seq(self) -> int:
        return max(int((self._clock.now_ns() / 1e9 - self._from_s) * self._fps + 1e-6), 0)


@pytest.mark.parametrize(
    ("camera_fps", "repeats", "suffices"),
    [
        (60, 0, True),
        (90, 0, True),
        (59.94, 1, True),
        (54.5, 27, True),
        (53, 35, False),
        (30, 150, False),
        (0, 300, False),
    ],
)
def test_rate_and_repeats(camera_fps: float, repeats: int, suffices: bool) -> None:
    clock = FakeClock()
    (rate,) = measure_rates({"front": Camera(clock, camera_fps)}, FPS, 5, clock)
    assert rate.fps == pytest.approx(camera_fps, abs=0.3)
    assert rate.ticks == 300
    assert abs(rate.repeats - repeats) <= 1
    assert rate.suffices(FPS) is suffices


def test_every_tick_calls_once_on_the_grid() -> None:
    clock, at = FakeClock(), []

    def work() -> None:
        at.append(clock.now_ns())
        clock.advance(5_000_000)

    measure_rates({}, 50, 0.1, clock, work)
    assert at == [tick * 20_000_000 for tick in range(5)]


def test_a_camera_that_begins_late_is_given_a_second_look() -> None:
    clock = FakeClock()
    cameras = {"good": Camera(clock, 60), "late": Camera(clock, 60, from_s=0.5), "slow": Camera(clock, 30)}
    slow = slow_cameras(cameras, FPS, clock)
    assert [rate.name for rate in slow] == ["slow"]
    assert clock.now_ns() == 3 * 10**9
    assert complaint(slow, FPS).startswith("camera slow delivers 30.0 pictures/s, expected 60")

"""What is done for a robot's cameras between two episodes, on a clock that passes only by sleeping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from control.camera_watch import CameraWatch
from control.errors import SessionAborted

S = 10**9
STALE_NS = S // 5


@dataclass
class Camera:
    """Delivers a picture every `period_s` while its process is there."""

    period_s: float = 1 / 30
    newest_seq: int = 1
    newest_capture_ns: int = 0


class Rig:
    """Cameras whose keeper dies when told to, and is there again with its cameras `back_s` after it was started."""

    def __init__(self, *cameras: Camera, back_s: float = 7.0, check: Callable[[float], None] = lambda now_s: None):
        self.now_ns, self.back_s, self._check = 100 * S, back_s, check
        self.memories = {f"camera{index}": camera for index, camera in enumerate(cameras)}
        self.starts: list[float] = []
        self.dead = False
        self._back_ns: int | None = 0
        self.said: list[str] = []
        self.watch = CameraWatch(self, STALE_NS, now_ns=lambda: self.now_ns, sleep=self.sleep, log=self.said.append)
        self.sleep(1)

    def start(self) -> bool:
        self.starts.append(self.now_ns / S)
        died, self.dead = self.dead, False
        if died:
            self._back_ns = self.now_ns + int(self.back_s * S)
        return died

    def die(self) -> None:
        self.dead, self._back_ns = True, None

    def sleep(self, seconds: float) -> None:
        self._check(self.now_ns / S)
        self.now_ns += int(seconds * S)
        for camera in self.memories.values():
            there = self._back_ns is not None and self.now_ns >= self._back_ns
            if there and self.now_ns - camera.newest_capture_ns >= camera.period_s * S:
                camera.newest_seq, camera.newest_capture_ns = camera.newest_seq + 1, self.now_ns

    def waited_s(self) -> float:
        before_ns = self.now_ns
        self.watch.await_fresh()
        return (self.now_ns - before_ns) / S


def test_cameras_that_deliver_cost_no_time() -> None:
    rig = Rig(Camera(), Camera())
    assert rig.waited_s() == 0
    assert rig.said == []


def test_a_dead_keeper_is_replaced_and_its_cameras_are_waited_for_however_young_their_pictures() -> None:
    rig = Rig(Camera(), Camera())
    rig.die()
    before = {name: camera.newest_seq for name, camera in rig.memories.items()}
    assert rig.waited_s() == pytest.approx(rig.back_s, abs=0.1)
    assert all(camera.newest_seq > before[name] for name, camera in rig.memories.items())
    assert rig.said[0].startswith("the keeper of the cameras has died")
    assert rig.said[1].startswith("waiting for a picture of camera camera0, the last is 1.0 s old; camera camera1")


def test_a_pause_replaces_a_dead_keeper_and_looks_once_a_second() -> None:
    rig = Rig(Camera(), back_s=3)
    rig.die()
    for _ in range(150):
        rig.watch.look()
        rig.sleep(1 / 30)
    assert len(rig.starts) == 5
    assert rig.waited_s() == 0, "the pause was long enough"
    assert len(rig.said) == 1


def test_a_keeper_that_dies_while_it_is_waited_for_is_replaced_again() -> None:
    rig = Rig(Camera(), back_s=3)
    rig.die()
    died_again: list[float] = []

    def check(now_s: float) -> None:
        if not died_again and now_s > rig.starts[0] + 2:
            died_again.append(now_s)
            rig.die()

    rig._check = check
    assert rig.waited_s() == pytest.approx(2 + 1 + rig.back_s, abs=1.1)


def test_a_slow_camera_is_waited_for_until_its_next_picture() -> None:
    rig = Rig(Camera(period_s=2.0))
    rig.sleep(1)
    assert rig.waited_s() == pytest.approx(1, abs=0.1)


def test_a_camera_that_never_delivers_does_not_hold_the_session_for_ever() -> None:
    rig = Rig(Camera(), back_s=1e6)
    rig.die()
    assert 60 < rig.waited_s() < 110, "less than a reset may take"


def test_the_session_can_be_ended_while_cameras_are_waited_for() -> None:
    def check(now_s: float) -> None:
        if now_s > 105:
            raise SessionAborted("ended by SIGTERM")

    rig = Rig(Camera(), back_s=1e6, check=check)
    rig.die()
    with pytest.raises(SessionAborted):
        rig.watch.await_fresh()
    assert rig.now_ns / S < 106

"""What a camera's process writes down, and that a camera is opened anew; with cameras that tests play."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from lerobot_camera_testfile.mischief import order

from control import camera_process
from control.camera_memory import CaptureKind, PictureMemory, create_memory
from control.camera_process import pump, stamped
from control.camera_set import CameraSet, CameraSpec
from scripts.emulators.numbered_video import write_numbered_video
from transport.link import Link

LIMIT_S = 90
HEIGHT, WIDTH = 4, 6


def picture(value: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


@pytest.fixture
def memory() -> Iterator[PictureMemory]:
    fd, _ = create_memory([(HEIGHT, WIDTH)])
    yield PictureMemory(fd, 0, HEIGHT, WIDTH)
    os.close(fd)


class Unplugged(Exception):
    """What a driver raises."""


class PlayedCamera:
    """Delivers what it is given, then fails."""

    def __init__(self, *shots: np.ndarray | Exception) -> None:
        self._shots = iter(shots)
        self.latest = picture(0)

    def async_read(self, timeout_ms: float) -> np.ndarray:
        shot = next(self._shots, None)
        if shot is None:
            raise Unplugged("the cable is gone")
        if isinstance(shot, Exception):
            raise shot
        self.latest = shot
        return shot

    def read_latest(self, max_age_ms: int) -> np.ndarray:
        return self.latest


def test_every_picture_is_written_and_a_drivers_error_ends_it(memory: PictureMemory) -> None:
    with pytest.raises(Unplugged):
        pump(PlayedCamera(picture(1), TimeoutError(), picture(2)), memory)
    into = picture(0)
    shot = memory.read_newest(into)
    assert shot is not None
    assert (shot.seq, shot.kind) == (2, CaptureKind.ARRIVAL)
    assert 0 < shot.capture_ns <= time.monotonic_ns()
    assert (into == 2).all()


@pytest.mark.parametrize("wrong", [np.zeros((HEIGHT, WIDTH, 1), np.uint8), np.zeros((HEIGHT, WIDTH, 3), np.float32)])
def test_a_picture_of_another_form_is_refused(memory: PictureMemory, wrong: np.ndarray) -> None:
    with pytest.raises(OSError, match=r"expected \(4, 6, 3\) and uint8"):
        pump(PlayedCamera(wrong), memory)
    assert memory.newest_seq == 0


def test_a_camera_that_stays_silent_is_given_up(memory: PictureMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_process, "_SILENT_LIMIT_S", -1.0)
    with pytest.raises(TimeoutError, match="no picture for"):
        pump(PlayedCamera(picture(1), TimeoutError(), picture(2)), memory)
    assert memory.newest_seq == 1


class DriverTimes:
    """A camera with the driver's times, to which new pictures come while it is asked."""

    def __init__(self, changes: int) -> None:
        self._changes = changes
        self.number = 0
        self.pictures = [picture(value) for value in range(20)]

    @property
    def latest_timestamp(self) -> float:
        return float(self.number)

    def async_read(self, timeout_ms: float) -> np.ndarray:
        return self.pictures[self.number]

    def read_latest(self, max_age_ms: int) -> np.ndarray:
        if self._changes:
            self._changes -= 1
            self.number += 1
        return self.pictures[self.number]


@pytest.mark.parametrize("changes", [0, 1, 2])
def test_a_drivers_time_is_the_pictures_own(changes: int) -> None:
    camera = DriverTimes(changes)
    found, capture_ns, kind = stamped(camera, camera.async_read(0))
    assert (found[0, 0, 0], capture_ns, kind) == (changes, changes * 10**9, CaptureKind.DRIVER)


def test_a_time_that_cannot_be_told_from_the_next_pictures_is_the_arrival() -> None:
    camera = DriverTimes(10)
    before_ns = time.monotonic_ns()
    _, capture_ns, kind = stamped(camera, camera.async_read(0))
    assert kind is CaptureKind.ARRIVAL
    assert before_ns <= capture_ns <= time.monotonic_ns()


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {LIMIT_S} s"
        os.sched_yield()


def children_running(module: str) -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and f"\0{module}\0" in (path / "cmdline").read_text():
                found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_dead_camera_and_a_dead_keeper_are_replaced() -> None:
    from lerobot_camera_testfile import VideoFileCameraConfig

    from control.lerobot_camera import encode

    before = set(children_running("control.camera_process"))
    with tempfile.TemporaryDirectory(prefix="camera") as folder:
        video, orders = Path(folder) / "video.mp4", Path(folder) / "orders"
        write_numbered_video(video, pictures=30, fps=30, width=160, height=120)
        config = encode(VideoFileCameraConfig(path=video, width=160, height=120, fps=30, orders=orders))
        log, operator = Link.pair()
        cameras = CameraSet([CameraSpec("front", config, 120, 160)], log)
        memory = cameras.memories["front"]
        try:
            cameras.start()
            wait_until(lambda: memory.newest_seq > 3, "the first picture")
            order(orders, "die")
            assert "camera front: its process ended: the read thread of VideoFileCamera" in said(operator)
            assert "camera front delivers again" in said(operator)

            assert cameras._keeper is not None
            os.kill(cameras._keeper.pid, signal.SIGKILL)
            cameras._keeper.wait()
            seq = memory.newest_seq
            cameras.start()
            wait_until(lambda: memory.newest_seq > seq + 3, "a picture after the keeper's death")
        finally:
            cameras.close()
            log.close()
            operator.close()
    wait_until(lambda: not set(children_running("control.camera_process")) - before, "the end of all camera processes")


def said(operator: Link) -> str:
    received = operator.receive(timeout_s=LIMIT_S)
    assert received is not None
    return str(received[0]["log"])

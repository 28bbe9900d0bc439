"""The `testfile` camera, through the interface that lerobot's robots use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lerobot.cameras.configs import CameraConfig
from lerobot.cameras.utils import make_cameras_from_configs
from lerobot.utils.errors import DeviceNotConnectedError
from lerobot.utils.import_utils import register_third_party_plugins
from lerobot_camera_testfile.mischief import Death, Mischief, Stall, order

from control.envs import frame_code
from scripts.emulators.numbered_video import write_numbered_video

FPS = 60
PICTURES = 12
LIMIT_S = 30


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "front.mp4"
    write_numbered_video(path, pictures=PICTURES, fps=FPS, width=160, height=120, camera=3)
    return path


def make_camera(path: Path, **settings: Any) -> Any:
    register_third_party_plugins()
    config = CameraConfig.get_choice_class("testfile")(path=path, **settings)
    return make_cameras_from_configs({"front": config})["front"]


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return tmp_path / "orders"


@pytest.fixture
def camera(video: Path, orders: Path) -> Iterator[Any]:
    camera = make_camera(video, fps=FPS, width=160, height=120, orders=orders)
    camera.connect()
    yield camera
    if camera.is_connected:
        camera.disconnect()


def number(picture: np.ndarray) -> int:
    code = frame_code.read(picture)
    assert code is not None
    assert code[1] == 3
    return code[0]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.005)


def test_pictures_come_in_order_looped_and_never_before_their_time(camera: Any) -> None:
    first = number(camera.async_read())
    began_s = camera.latest_timestamp
    shown = first
    for _ in range(3 * PICTURES):
        step = (number(camera.async_read()) - shown) % PICTURES
        shown += step or PICTURES
        # The timestamp may already be that of a later picture, never of an earlier one.
        assert camera.latest_timestamp - began_s > (shown - first - 1) / FPS
    assert shown - first >= 3 * PICTURES


def test_reading_waits_for_a_picture_to_come_and_the_latest_does_not(camera: Any) -> None:
    latest = camera.read_latest()
    assert latest.shape == (120, 160, 3)
    assert latest.dtype == np.uint8
    taken_s = camera.latest_timestamp
    camera.read()
    assert camera.latest_timestamp > taken_s


def test_a_picture_belongs_to_whoever_reads_it(camera: Any) -> None:
    pictures: dict[int, list[np.ndarray]] = {}
    while not any(len(seen) > 1 for seen in pictures.values()):
        picture = camera.async_read()
        pictures.setdefault(number(picture), []).append(picture.copy())
        picture[:] = 0
    first, second = next(seen for seen in pictures.values() if len(seen) > 1)
    assert np.array_equal(first, second)


def test_bgr_is_rgb_the_other_way_round(video: Path, camera: Any) -> None:
    blue_first = make_camera(video, color_mode="bgr")
    blue_first.connect()
    wanted = number(picture := blue_first.async_read())
    blue_first.disconnect()
    while number(same := camera.async_read()) != wanted:
        pass
    assert np.array_equal(picture[..., ::-1], same)


def test_a_stalled_camera_times_out_and_comes_back(camera: Any, orders: Path) -> None:
    order(orders, "stall 1")
    wait_until(lambda: not orders.exists())

    def is_too_old() -> bool:
        try:
            camera.read_latest(max_age_ms=300)
        except TimeoutError as error:
            return "ms old" in str(error)
        return False

    wait_until(is_too_old)
    with pytest.raises(TimeoutError, match="no picture within"):
        [camera.async_read(1) for _ in range(2)]
    stalled_s = camera.latest_timestamp
    wait_until(lambda: camera.latest_timestamp > stalled_s)
    assert camera.latest_timestamp - stalled_s >= 1
    assert camera.is_connected


def test_a_dead_camera_stays_connected_fails_every_read_and_plays_again_once_reconnected(
    camera: Any, orders: Path
) -> None:
    order(orders, "die")
    wait_until(lambda: not camera._thread.is_alive())
    assert camera.is_connected
    for read in (camera.read_latest, camera.async_read, camera.read):
        with pytest.raises(RuntimeError, match="not running: it was told to die"):
            read()
    camera.disconnect()
    with pytest.raises(DeviceNotConnectedError):
        camera.read_latest()
    camera.connect()
    number(camera.read_latest())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"width": 640}, RuntimeError, "width=160, expected 640"),
        ({"fps": 30}, RuntimeError, "fps=60, expected 30"),
        ({"path": Path("missing.mp4")}, ConnectionError, "cannot be played"),
        ({"path": Path(__file__)}, ConnectionError, "cannot be played"),
    ],
)
def test_what_the_file_does_not_have_is_refused(
    video: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    camera = make_camera(**{"path": video, **settings})
    with pytest.raises(error, match=message):
        camera.connect()
    assert not camera.is_connected


def test_mischief_is_done_once_and_when_it_is_due(orders: Path) -> None:
    mischief = Mischief(stall_after_s=1.0, stall_s=2.0, die_after_s=3.5, orders=orders)
    order(orders, "stall 0.5")
    assert [mischief.due(elapsed_s) for elapsed_s in (0.0, 0.5, 1.0, 3.0, 3.6, 9.0)] == [
        Stall(0.5),
        None,
        Stall(2.0),
        None,
        Death(),
        None,
    ]


@pytest.mark.parametrize("line", ["", "stall", "stall -1", "stall nan", "stall soon", "explode"])
def test_an_order_that_no_camera_understands_is_never_left(orders: Path, line: str) -> None:
    with pytest.raises(ValueError, match=r"expected|could not convert"):
        order(orders, line)
    assert not orders.exists()

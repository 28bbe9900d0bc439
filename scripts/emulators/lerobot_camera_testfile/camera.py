"""The camera: a thread that takes the file's pictures on an absolute grid, and lerobot's three ways to read them.

Picture k of the loop is delivered at t0 + k/fps or not at all: a stalled or starved camera resumes with the picture of
the moment, so the number in a numbered picture tells when it was taken. What differs from OpenCVCamera: all decoding is
done at `connect`, so a picture costs one copy; and the thread's death is quiet.
"""

from __future__ import annotations

import math
import time
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from lerobot.cameras.camera import Camera
from lerobot.cameras.configs import ColorMode
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected
from numpy.typing import NDArray

from .configuration import VideoFileCameraConfig
from .depth import depth_of
from .mischief import Mischief, Stall
from .video import Video, read_video

_FIRST_PICTURE_LIMIT_MS = 5_000.0
_READ_LIMIT_MS = 10_000.0
_JOIN_LIMIT_S = 5.0


class VideoFileCamera(Camera):  # type: ignore[misc]
    """Plays a video file in a loop; see lerobot's Camera for what each method promises."""

    def __init__(self, config: VideoFileCameraConfig) -> None:
        super().__init__(config)
        self.config = config
        self.color_mode = config.color_mode
        self.latest_timestamp: float | None = None
        self.use_rgb, self.use_depth = True, config.use_depth
        self._latest_depth: NDArray[np.uint16] | None = None
        self._latest: NDArray[np.uint8] | None = None
        self._lock = Lock()
        self._fresh = Event()
        self._stop = Event()
        self._thread: Thread | None = None
        self._end = ""

    def __str__(self) -> str:
        return f"VideoFileCamera({self.config.path})"

    @property
    def is_connected(self) -> bool:
        """As with OpenCVCamera, a camera whose thread has died still counts as connected."""
        return self._thread is not None

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        """There are none to be found."""
        return []

    @check_if_already_connected  # type: ignore[untyped-decorator]
    def connect(self, warmup: bool = True) -> None:
        """Load the file and start to play it.

        Raises:
            DeviceAlreadyConnectedError: it plays already.
            ConnectionError: the file cannot be played.
            RuntimeError: the file's rate or size is not the one configured.
        """
        video = read_video(self.config.path)
        self._settle(video)
        if self.color_mode == ColorMode.BGR:
            video = Video([np.ascontiguousarray(picture[..., ::-1]) for picture in video.pictures], video.fps)
        mischief = Mischief(self.config.stall_after_s, self.config.stall_s, self.config.die_after_s, self.config.orders)
        self._stop.clear()
        self._thread = Thread(target=self._play, args=(video, mischief), name=str(self), daemon=True)
        self._thread.start()
        if warmup:
            self.async_read(_FIRST_PICTURE_LIMIT_MS)

    @check_if_not_connected  # type: ignore[untyped-decorator]
    def read(self) -> NDArray[np.uint8]:
        """The next picture to be taken, uint8 of shape (height, width, 3).

        Raises:
            DeviceNotConnectedError: it does not play.
            TimeoutError: none comes within 10 s.
            RuntimeError: the camera has died.
        """
        self._fresh.clear()
        picture: NDArray[np.uint8] = self.async_read(_READ_LIMIT_MS)
        return picture

    @check_if_not_connected  # type: ignore[untyped-decorator]
    def async_read(self, timeout_ms: float = 200) -> NDArray[np.uint8]:
        """The newest picture that was not read before, waiting for it if need be.

        Raises:
            DeviceNotConnectedError: it does not play.
            TimeoutError: none comes in time.
            RuntimeError: the camera has died.
        """
        self._check_alive()
        if not self._fresh.wait(timeout_ms / 1e3):
            raise TimeoutError(f"{self} delivered no picture within {timeout_ms:g} ms")
        with self._lock:
            picture = self._latest
            self._fresh.clear()
        if picture is None:
            raise RuntimeError(f"{self} was disconnected while it was read")
        return picture

    @check_if_not_connected  # type: ignore[untyped-decorator]
    def read_latest(self, max_age_ms: int = 500) -> NDArray[np.uint8]:
        """The newest picture, at once, whether or not it was read before.

        Raises:
            DeviceNotConnectedError: it does not play.
            TimeoutError: it is older than `max_age_ms`.
            RuntimeError: the camera has died, or has taken no picture yet.
        """
        self._check_alive()
        with self._lock:
            picture, timestamp = self._latest, self.latest_timestamp
        if picture is None or timestamp is None:
            raise RuntimeError(f"{self} has not taken a picture yet")
        age_ms = (time.perf_counter() - timestamp) * 1e3
        if age_ms > max_age_ms:
            raise TimeoutError(f"the latest picture of {self} is {age_ms:.1f} ms old, expected at most {max_age_ms} ms")
        return picture

    @check_if_not_connected  # type: ignore[untyped-decorator]
    def read_latest_depth(self, max_age_ms: int = 500) -> NDArray[np.uint16]:
        """The newest picture's depth, at once: millimetres, uint16 of shape (height, width, 1).

        Raises:
            DeviceNotConnectedError, TimeoutError: as `read_latest`.
            RuntimeError: as `read_latest`, or it was made without `use_depth`.
        """
        self.read_latest(max_age_ms)
        with self._lock:
            depth = self._latest_depth
        if depth is None:
            raise RuntimeError(f"{self} delivers no depth; configure use_depth")
        return depth

    @check_if_not_connected  # type: ignore[untyped-decorator]
    def disconnect(self) -> None:
        """Stop playing; `connect` starts anew.

        Raises:
            DeviceNotConnectedError: it does not play.
            RuntimeError: the thread does not end.
        """
        thread, self._thread = self._thread, None
        assert thread is not None
        self._stop.set()
        thread.join(_JOIN_LIMIT_S)
        if thread.is_alive():
            raise RuntimeError(f"the thread of {self} did not end within {_JOIN_LIMIT_S:g} s")
        with self._lock:
            self._latest = self.latest_timestamp = None
            self._fresh.clear()

    def _settle(self, video: Video) -> None:
        found = {"fps": video.fps, "width": video.size[0], "height": video.size[1]}
        for name, value in found.items():
            wanted = getattr(self.config, name)
            if wanted is not None and not math.isclose(wanted, value, rel_tol=1e-3):
                raise RuntimeError(f"{self} has {name}={value:g}, expected {wanted:g}; configure what the file has")
        self.width, self.height = video.size
        self.fps = self.config.fps or round(video.fps)

    def _check_alive(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            raise RuntimeError(f"the read thread of {self} is not running{self._end}")

    def _play(self, video: Video, mischief: Mischief) -> None:
        began_s = time.perf_counter()
        number = 0
        while not self._stop.wait(max(0.0, began_s + number / video.fps - time.perf_counter())):
            elapsed_s = time.perf_counter() - began_s
            try:
                deed = mischief.due(elapsed_s)
            except ValueError as error:
                self._end = f": {error}"
                return
            if isinstance(deed, Stall):
                self._stop.wait(deed.seconds)
            elif deed is not None:
                self._end = ": it was told to die"
                return
            else:
                picture = video.pictures[number % len(video.pictures)].copy()
                depth = depth_of(number % len(video.pictures), *picture.shape[:2]) if self.use_depth else None
                with self._lock:
                    self._latest, self.latest_timestamp = picture, time.perf_counter()
                    self._latest_depth = depth
                    self._fresh.set()
            number = max(number + 1, math.ceil((time.perf_counter() - began_s) * video.fps))

"""lerobot's cameras, read elsewhere: configurations that cross to another process, and the robot's stand-ins."""

from __future__ import annotations

import importlib
import time
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from lerobot.cameras import Camera
from lerobot.cameras.configs import CameraConfig
from lerobot.cameras.utils import make_cameras_from_configs

from control.camera_memory import Picture, PictureMemory
from control.picture_view import PictureView

# Cameras warm up for seconds, and a busy machine takes seconds to import their drivers.
_CONNECT_LIMIT_S = 90.0
_POLL_S = 0.01


def encode(value: Any) -> Any:
    """A camera's configuration as maps, lists, text and numbers.

    Raises:
        TypeError: it holds something else than dataclasses, enumerations, paths and containers of them.
    """
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if is_dataclass(value):
        return {"object": name, "fields": {each.name: encode(getattr(value, each.name)) for each in fields(value)}}
    if isinstance(value, Enum):
        return {"enum": name, "value": encode(value.value)}
    if isinstance(value, PurePath):
        return {"path": str(value)}
    if isinstance(value, dict):
        return {"map": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [encode(item) for item in value]}
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    raise TypeError(f"a {kind.__name__} found in a camera's configuration, which cannot be handed to another process")


def decode(value: Any) -> Any:
    """Make again what `encode` was given."""
    match value:
        case {"object": name, "fields": found}:
            made = _named(name)
            init = {each.name for each in fields(made) if each.init}
            return made(**{key: decode(item) for key, item in found.items() if key in init})
        case {"enum": name, "value": item}:
            return _named(name)(decode(item))
        case {"path": text}:
            return Path(text)
        case {"map": items}:
            return {decode(key): decode(item) for key, item in items}
        case {"tuple": items}:
            return tuple(decode(item) for item in items)
        case {"list": items}:
            return [decode(item) for item in items]
    return value


def make_camera(name: str, config: Any) -> Camera:
    """The driver of an encoded configuration."""
    return make_cameras_from_configs({name: decode(config)})[name]


def config_of(camera: Any) -> CameraConfig | None:
    """What a camera was made from; None if it does not say."""
    config = getattr(camera, "config", None)
    return config if isinstance(config, CameraConfig) else None


class CameraProxy(PictureView, Camera):  # type: ignore[misc]
    """Stands for a camera in a robot's `cameras`; its pictures come from shared memory.

    All ways to read give the newest picture at once, read before or not, however old it is: what a frame repeats or
    holds too long is noted by whoever records it. `connect` waits for the first picture.

    Attributes:
        views: what the loop takes of it: its pictures, and its depth if it has any.
    """

    def __init__(
        self, name: str, config: CameraConfig, camera: Camera, memory: PictureMemory, depth: PictureMemory | None = None
    ) -> None:
        Camera.__init__(self, config)
        PictureView.__init__(self, name, memory)
        self.config = config
        # A rotated camera has other numbers than its configuration.
        self.width, self.height, self.fps = camera.width, camera.height, camera.fps
        self.use_rgb, self.use_depth = True, depth is not None
        self._depth = None if depth is None else PictureView(f"{name}, depth", depth)
        self.views: tuple[PictureView, ...] = (self,) if self._depth is None else (self, self._depth)
        self._connected = False

    def __str__(self) -> str:
        return f"CameraProxy({self.name})"

    @property
    def is_connected(self) -> bool:
        return self._connected

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        """Cameras are found by their drivers."""
        return []

    def connect(self, warmup: bool = True) -> None:
        """Wait for the first picture.

        Raises:
            ConnectionError: the camera's process says why it cannot deliver, or says nothing.
        """
        limit_s = time.monotonic() + _CONNECT_LIMIT_S
        while self._memory.newest_seq == 0:
            if self._memory.failures:
                raise ConnectionError(f"camera {self.name}: {self._memory.failure}")
            if time.monotonic() > limit_s:
                raise ConnectionError(f"camera {self.name} delivered no picture within {_CONNECT_LIMIT_S:g} s")
            time.sleep(_POLL_S)
        self._connected = True

    def disconnect(self) -> None:
        """The driver itself is closed by its process."""
        self._connected = False

    def read(self) -> Picture:
        """As `read_latest`."""
        return self.read_latest()

    def async_read(self, timeout_ms: float = 200) -> Picture:
        """As `read_latest`."""
        return self.read_latest()

    def read_latest_depth(self, max_age_ms: int = 500) -> Picture:
        """The newest depth map, uint16 millimetres of shape (height, width, 1), as `read_latest`.

        Raises:
            RuntimeError: the camera has no depth, or none yet.
        """
        if self._depth is None:
            raise RuntimeError(f"camera {self.name} delivers no depth; set its use_depth to true")
        return self._depth.read_latest()

    def read_depth(self, timeout_ms: int = 200) -> Picture:
        """As `read_latest_depth`."""
        return self.read_latest_depth()

    def async_read_depth(self, timeout_ms: float = 200) -> Picture:
        """As `read_latest_depth`."""
        return self.read_latest_depth()


def _named(name: str) -> Any:
    module, _, qualified = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found

"""A process that reads one camera: imports what cameras need, is told which one, and writes its pictures down.

It starts before it is told, so that a spare one is ready at once when another dies: importing takes seconds.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any, NoReturn, Protocol

from control.camera_memory import CaptureKind, Picture, PictureMemory
from transport.link import child_link

# A camera that delivers nothing for so long is given up, and opened anew by the next process.
_SILENT_LIMIT_S = 5.0
_READ_TIMEOUT_MS = 1000.0
_STAMP_ATTEMPTS = 3


class ReadCamera(Protocol):
    """What is used of lerobot's Camera; `latest_timestamp` (time.perf_counter) only where the camera has it."""

    def async_read(self, timeout_ms: float) -> Picture: ...

    def read_latest(self, max_age_ms: int) -> Picture: ...


class ReadDepthCamera(ReadCamera, Protocol):
    """A camera with `use_depth`."""

    def read_latest_depth(self, max_age_ms: int) -> Picture: ...


def main() -> int:
    """Entry of the process; its link's second message has `camera`, and the pictures' shared memory."""
    link, _, _ = child_link()
    signal.signal(signal.SIGTERM, _end)
    from control import lerobot_camera

    received = link.receive()
    if received is None:
        return 0
    message, (memory_fd,) = received
    size = message["height"], message["width"]
    memory = PictureMemory(memory_fd, message["offset"], *size)
    depth_offset = message["depth_offset"]
    depth_memory = None if depth_offset is None else PictureMemory(memory_fd, depth_offset, *size, depth=True)
    os.close(memory_fd)
    camera = None
    try:
        camera = lerobot_camera.make_camera(message["name"], message["camera"])
        camera.connect()
        pump(camera, memory, depth_memory)
    except Exception as error:  # noqa: BLE001 - whatever a driver raises is said, and the keeper starts anew
        memory.fail(" ".join(f"{error}".split()) or type(error).__name__)
        return 1
    finally:
        if camera is not None and camera.is_connected:
            camera.disconnect()
    return 0


def pump(camera: Any, memory: PictureMemory, depth_memory: PictureMemory | None = None) -> None:
    """Write down whatever the camera delivers, for ever.

    Args:
        camera: a `ReadCamera`, with `depth_memory` a `ReadDepthCamera`.

    Raises:
        OSError: it delivers nothing, or pictures of another form than configured.
        Exception: whatever the driver raises.
    """
    last_s = time.monotonic()
    while True:
        try:
            picture = camera.async_read(timeout_ms=_READ_TIMEOUT_MS)
        except TimeoutError:
            if time.monotonic() - last_s > _SILENT_LIMIT_S:
                raise TimeoutError(f"no picture for {_SILENT_LIMIT_S:g} s") from None
            continue
        last_s = time.monotonic()
        picture, capture_ns, kind = stamped(camera, picture)
        _check(picture, memory)
        if depth_memory is not None:
            # The driver gets both at once, so that the depth is of this moment, or of the next one's.
            depth = camera.read_latest_depth(max_age_ms=10**9)
            _check(depth, depth_memory)
            depth_memory.write(depth, capture_ns, kind)
        memory.write(picture, capture_ns, kind)


def _check(picture: Picture, memory: PictureMemory) -> None:
    if picture.shape != memory.shape or picture.dtype != memory.dtype:
        raise OSError(
            f"a picture of shape {picture.shape} and dtype {picture.dtype} found, expected {memory.shape} and "
            f"{memory.dtype}; correct the camera's width and height"
        )


def stamped(camera: ReadCamera, picture: Picture) -> tuple[Picture, int, CaptureKind]:
    """The picture, or a newer one if that came meanwhile, with the time at which it was taken.

    The driver's time is the picture's own if the camera hands out the very same picture after it was read.
    """
    arrival_ns = time.monotonic_ns()
    for _ in range(_STAMP_ATTEMPTS):
        noted_s = getattr(camera, "latest_timestamp", None)
        if not isinstance(noted_s, float):
            break
        try:
            again = camera.read_latest(max_age_ms=10**9)
        except TimeoutError:
            break
        if again is picture:
            # perf_counter is CLOCK_MONOTONIC on Linux.
            return picture, round(noted_s * 1e9), CaptureKind.DRIVER
        picture, arrival_ns = again, time.monotonic_ns()
    return picture, arrival_ns, CaptureKind.ARRIVAL


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def camera_message(
    name: str, camera: dict[str, Any], offset: int, height: int, width: int, depth_offset: int | None = None
) -> dict[str, Any]:
    """What the process is told; `depth_offset` is where its depth goes, if it delivers any."""
    return {
        "name": name,
        "camera": camera,
        "offset": offset,
        "height": height,
        "width": width,
        "depth_offset": depth_offset,
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""The pictures of a video file, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Video:
    """Every picture of a file, uint8 of shape (height, width, 3) in RGB, and the file's rate."""

    pictures: list[NDArray[np.uint8]]
    fps: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.pictures[0].shape[:2]
        return width, height


def read_video(path: Path) -> Video:
    """Decode a whole file.

    Raises:
        ConnectionError: there is no such file, it is no video, or it is too long to be held.
    """
    pictures: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
            for frame in container.decode(video=0):
                pictures.append(frame.to_ndarray(format="rgb24"))
                if len(pictures) * pictures[0].nbytes > _MAX_BYTES:
                    raise ConnectionError(f"{path} has more than {_MAX_BYTES >> 20} MiB of pictures; use a shorter one")
    except (av.error.FFmpegError, IndexError) as error:
        raise ConnectionError(f"{path} cannot be played as a camera: {error}") from error
    if not pictures or not rate:
        raise ConnectionError(f"{path} cannot be played as a camera: it has no pictures or no rate")
    return Video(pictures, float(rate))

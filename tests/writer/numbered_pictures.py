"""Pictures for the tests of encoding: textured, moving, each with its number written into its pixels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_BITS = 10


def numbered(index: int, width: int, height: int, camera: int = 0) -> NDArray[np.uint8]:
    """Picture `index` of a camera, shape (height, width, 3): smooth waves that move, its number along the top edge."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = index * 0.3 + camera
    picture = np.stack(
        [
            128 + 80 * np.sin(x / 29 + phase) * np.cos(y / 37),
            128 + 70 * np.sin((x + y) / 41 - phase),
            128 + 70 * np.cos(x / 53 - y / 31 + camera),
        ],
        axis=-1,
    ).astype(np.uint8)
    cell = width // _BITS
    for bit in range(_BITS):
        picture[: max(cell, 4), bit * cell : (bit + 1) * cell] = 235 if index >> bit & 1 else 20
    return picture


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number that a decoded picture carries."""
    cell = picture.shape[1] // _BITS
    height = max(cell, 4)
    return sum(
        (
            picture[height // 4 : -(-height * 3 // 4), bit * cell + cell // 4 : bit * cell + cell * 3 // 4 + 1].mean()
            > 128
        )
        << bit
        for bit in range(_BITS)
    )


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Decibels between two pictures."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def decode(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    """Time in seconds and RGB picture of every frame of a video file."""
    with av.open(str(path)) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def assert_video(path: Path, frames: int, fps: int, width: int, height: int, camera: int = 0) -> None:
    """The file decodes to exactly the numbered pictures 0.., each at k/fps and true to its source."""
    decoded = decode(path)
    assert [read_number(picture) for _, picture in decoded] == list(range(frames))
    for index, (time_s, picture) in enumerate(decoded):
        assert abs(time_s - index / fps) < 1e-4
        assert picture.shape == (height, width, 3)
        assert psnr(picture, numbered(index, width, height, camera)) >= 30

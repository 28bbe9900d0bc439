"""Synthetic camera pictures for load tests: textured, moving, grainy, and different from camera to camera.

A few pictures a camera are rendered ahead and shown forth and back, so that showing one costs the loop a copy and
nothing else. Together they are larger than a CPU's caches, as the buffers of real cameras are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PICTURES = 8
_PAN_PIXELS = 4
_PATCH_PIXELS = 40
_GRAIN = 6


def render(width: int, height: int, camera: int, count: int = PICTURES) -> NDArray[np.uint8]:
    """A pan over a scene: smooth patches, fine grain as of a sensor, a block that crosses.

    Returns:
        shape (count, height, width, 3), dtype uint8, RGB; always the same for the same arguments.
    """
    random = np.random.default_rng(camera)
    wide = width + _PAN_PIXELS * count
    corners = random.integers(40, 216, (height // _PATCH_PIXELS + 2, wide // _PATCH_PIXELS + 2, 3)).astype(np.float32)
    scene = _stretched(corners, height, wide)
    pictures = np.empty((count, height, width, 3), np.uint8)
    for index, picture in enumerate(pictures):
        part = scene[:, _PAN_PIXELS * index : _PAN_PIXELS * index + width]
        grain = random.integers(-_GRAIN, _GRAIN + 1, (height, width, 1), np.int8)
        picture[:] = np.clip(part + grain, 0, 255)
        left = width * (index + 1) // (count + 1)
        picture[height // 2 : height * 2 // 3, left : left + width // 8] = (230, 40, 40)
    return pictures


def forth_and_back(index: int, count: int = PICTURES) -> int:
    """Which of `count` pictures to show as number `index`, without a jump: 0, 1, .. count - 1, count - 2, .. 1, 0."""
    if count == 1:
        return 0
    place = index % (2 * count - 2)
    return min(place, 2 * count - 2 - place)


def _stretched(corners: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Patches with straight transitions between the values at their corners."""
    y, x = np.arange(height) / _PATCH_PIXELS, np.arange(width) / _PATCH_PIXELS
    rows, columns = y.astype(int), x.astype(int)
    down, right = (y - rows)[:, None, None].astype(np.float32), (x - columns)[None, :, None].astype(np.float32)
    at_rows = corners[rows] * (1 - down) + corners[rows + 1] * down
    stretched: NDArray[np.float32] = at_rows[:, columns] * (1 - right) + at_rows[:, columns + 1] * right
    return stretched

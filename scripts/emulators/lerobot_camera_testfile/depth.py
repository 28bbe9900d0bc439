"""The depth that a `testfile` camera makes up: a slope that goes away from the camera as the pictures go on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEAREST_MM = 400
_STEP_MM = 5
_STEPS = 200


def depth_of(number: int, height: int, width: int) -> NDArray[np.uint16]:
    """The depth beside picture `number`: millimetres, uint16 of shape (height, width, 1).

    It grows by 1 mm a column and 2 mm a row, and by 5 mm a picture, for 200 pictures.
    """
    columns, rows = np.arange(width, dtype=np.uint16), np.arange(height, dtype=np.uint16)
    depth: NDArray[np.uint16] = columns[None, :, None] + 2 * rows[:, None, None]
    depth += np.uint16(_NEAREST_MM + number % _STEPS * _STEP_MM)
    return depth

"""Where the cameras stand, what they see of the empty room, and how points become pixels.

World axes as in `control.envs.world`. A camera is a pinhole: a row (x, y, z, 1) times its `matrix` (4, 3) gives
(u * depth, v * depth, depth), u to the right and v downwards in pixels, depth in metres along the optical axis.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, radians, sin, tan

import numpy as np
from numpy.typing import NDArray

from control.envs.frame_code import MAX_CAMERA_INDEX
from control.envs.world import EE_HIGH_M, EE_LOW_M

Rgb = tuple[float, float, float]
Vector = tuple[float, float, float]

CAMERA_NAMES = ("front", "wrist", "top", "left", "right")
_CAMERA_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,63}")

TABLE_HALF_M = (0.42, 0.32)
_GRID_M = 0.1
_CENTRE: Vector = (0.0, 0.04, 0.12)
_GOLDEN_ANGLE = 2.399963


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """A camera's pose and its room.

    Attributes:
        eye, look_at: in metres; a following camera's are counted from below the gripper, on the table.
        field_deg: horizontal angle of view at 4:3; wider pictures see more at the sides.
        room, table: colours of the surroundings and of the table, 0 to 1.
        follows_gripper: stays above the gripper, looking straight down from a fixed height.
    """

    eye: Vector
    look_at: Vector
    field_deg: float
    room: Rgb
    table: Rgb
    follows_gripper: bool = False


_WOOD: Rgb = (0.80, 0.69, 0.54)
_NAMED = {
    "front": Viewpoint((0.0, -0.92, 0.60), _CENTRE, 54, (0.62, 0.71, 0.80), _WOOD),
    "wrist": Viewpoint((0.0, -0.045, 0.58), (0.0, -0.045, 0.0), 46, (0.45, 0.48, 0.52), (0.83, 0.76, 0.64), True),
    "top": Viewpoint((0.0, 0.03, 1.10), (0.0, 0.031, 0.0), 50, (0.40, 0.46, 0.44), (0.74, 0.68, 0.56)),
    "left": Viewpoint((-0.92, -0.35, 0.48), _CENTRE, 50, (0.80, 0.72, 0.64), (0.72, 0.60, 0.46)),
    "right": Viewpoint((0.92, -0.35, 0.56), _CENTRE, 50, (0.66, 0.76, 0.68), (0.68, 0.62, 0.55)),
}


def camera_names(cameras: int | Sequence[str]) -> tuple[str, ...]:
    """The names of that many cameras, or the names given, checked.

    Raises:
        ValueError: a negative or too large number, a name that is no file name, or a name given twice.
    """
    if isinstance(cameras, int):
        most = MAX_CAMERA_INDEX + 1
        if not 0 <= cameras <= most:
            raise ValueError(f"{cameras} cameras found, expected 0 to {most}")
        return (*CAMERA_NAMES, *(f"camera{index}" for index in range(len(CAMERA_NAMES), cameras)))[:cameras]
    names = tuple(cameras)
    for name in names:
        if not _CAMERA_NAME.fullmatch(name):
            raise ValueError(f"camera name {name!r} found, expected letters, digits, '_' and '-'")
    if isinstance(cameras, str) or len(set(names)) != len(names):
        raise ValueError(f"cameras {cameras!r} found, expected a number or a list of different names")
    return names


def viewpoint(name: str, index: int) -> Viewpoint:
    """The pose that belongs to a name, else one that depends on the camera's index."""
    named = _NAMED.get(name)
    if named is not None:
        return named
    angle = index * _GOLDEN_ANGLE
    # Around the front three quarters of the table: behind it the arm would hide everything.
    bearing = -pi / 2 + 0.75 * pi * sin(angle)
    height = 0.55 + 0.2 * cos(1.7 * angle)
    eye = (0.95 * cos(bearing), 0.95 * sin(bearing), height)
    hue = (index * 0.618034) % 1.0
    return Viewpoint(eye, _CENTRE, 52, colorsys.hsv_to_rgb(hue, 0.22, 0.78), colorsys.hsv_to_rgb(hue + 0.5, 0.18, 0.76))


class Camera:
    """One viewpoint at one picture size, with its background painted beforehand.

    Args:
        view: the pose.
        width, height: in pixels.
    """

    def __init__(self, view: Viewpoint, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._follows = view.follows_gripper
        self.focal_px = min(width, height * 4 / 3) / 2 / tan(radians(view.field_deg / 2))
        self._eye = np.array(view.eye)
        self._axes = _axes(self._eye, np.array(view.look_at))
        self._table_px_per_m = self.focal_px / view.eye[2]
        # A following camera crops its picture out of one of the whole table, which is as much larger as it travels.
        low, high = (self._travel_px(corner) for corner in (EE_LOW_M, EE_HIGH_M))
        self._left, self._top = (low[0], -high[1]) if self._follows else (0, 0)
        extra = (high[0] - low[0], high[1] - low[1]) if self._follows else (0, 0)
        self._background = self._paint_room(view, width + extra[0], height + extra[1])
        self._fixed_matrix = self._matrix(self._eye)

    def look(self, ee: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """The projection, shape (4, 3), and the empty room, a view of shape (height, width, 3), for this gripper."""
        if not self._follows:
            return self._fixed_matrix, self._background
        # Whole pixels, so that what is drawn on the table stays where the table's picture has it.
        right, away = self._travel_px(ee)
        eye = np.array([right / self._table_px_per_m, away / self._table_px_per_m, self._eye[2]])
        x, y = right - self._left, -away - self._top
        return self._matrix(eye), self._background[y : y + self._height, x : x + self._width]

    def _travel_px(self, ee: NDArray[np.float64]) -> tuple[int, int]:
        away_m = ee[1] + self._eye[1]
        return round((ee[0] + self._eye[0]) * self._table_px_per_m), round(away_m * self._table_px_per_m)

    def _matrix(self, eye: NDArray[np.float64]) -> NDArray[np.float64]:
        rotated = np.hstack([self._axes, -self._axes @ eye[:, None]])
        intrinsic = np.array([[self.focal_px, 0, self._width / 2], [0, self.focal_px, self._height / 2], [0, 0, 1]])
        return np.ascontiguousarray((intrinsic @ rotated).T)

    def _paint_room(self, view: Viewpoint, width: int, height: int) -> NDArray[np.uint8]:
        """Cast a ray through every pixel onto the table's plane."""
        u = (np.arange(width) + self._left + 0.5 - self._width / 2) / self.focal_px
        v = (np.arange(height) + self._top + 0.5 - self._height / 2) / self.focal_px
        rays = u[None, :, None] * self._axes[0] + v[:, None, None] * self._axes[1] + self._axes[2]
        down = np.minimum(rays[..., 2], -1e-6)
        x = self._eye[0] * (not self._follows) - rays[..., 0] * self._eye[2] / down
        y = self._eye[1] * (not self._follows) - rays[..., 1] * self._eye[2] / down
        on_table: NDArray[np.float64] = (_inside(x, TABLE_HALF_M[0]) * _inside(y, TABLE_HALF_M[1]))[..., None]
        colour = _room_colour(x, y, view.room)
        colour += on_table * (_table_colour(x, y, view.table) - colour)
        return np.rint(np.clip(colour, 0.04, 0.96) * 255).astype(np.uint8)


def _axes(eye: NDArray[np.float64], look_at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows: the camera's right, down and forward in world axes; looking straight down, up in the picture is +y."""
    forward = look_at - eye
    forward /= np.linalg.norm(forward)
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.99 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.array([right, np.cross(forward, right), forward])


def _inside(position: NDArray[np.float64], half: float) -> NDArray[np.float64]:
    """1 inside, 0 outside, smooth over 4 mm."""
    return np.clip((half - np.abs(position)) / 0.004, 0, 1)


def _table_colour(x: NDArray[np.float64], y: NDArray[np.float64], base: Rgb) -> NDArray[np.float64]:
    light: NDArray[np.float64] = 1.04 - 0.35 * (x + 0.15) ** 2 - 0.45 * (y - 0.1) ** 2
    for position in (x, y):
        from_line = np.abs(position - np.round(position / _GRID_M) * _GRID_M)
        light = light - 0.07 * np.clip(1 - from_line / 0.004, 0, 1)
    rim = 1 - _inside(x, TABLE_HALF_M[0] - 0.012) * _inside(y, TABLE_HALF_M[1] - 0.012)
    colour: NDArray[np.float64] = (light - 0.22 * rim)[..., None] * np.array(base)
    return colour


def _room_colour(x: NDArray[np.float64], y: NDArray[np.float64], base: Rgb) -> NDArray[np.float64]:
    """A gradient from top to bottom, darker under the table's edge."""
    outside = np.hypot(np.maximum(np.abs(x) - TABLE_HALF_M[0], 0), np.maximum(np.abs(y) - TABLE_HALF_M[1], 0))
    shade = 1.0 - 0.30 * np.exp(-np.minimum(outside, 2.0) / 0.12)
    gradient = np.linspace(1.08, 0.82, len(x))[:, None] * shade
    colour: NDArray[np.float64] = gradient[..., None] * np.array(base)
    return colour

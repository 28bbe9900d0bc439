"""Painting the tabletop: arm, gripper, cube, target and a metronome, as one camera sees them."""

from __future__ import annotations

from itertools import pairwise
from math import hypot, sin, tau

import numpy as np
from numpy.typing import NDArray

from control.envs import frame_code
from control.envs.raster import Canvas, Colour, Point, Shape
from control.envs.views import Camera, Viewpoint
from control.envs.world import CUBE_M, SUCCESS_RADIUS_M, World

_SHOULDER = np.array([0.0, 0.27, 0.13])
_BASE = np.array([0.0, 0.27, 0.0])
_BASE_RADIUS_M = 0.055
_LINK_M = 0.305
_METRONOME = np.array([-0.32, 0.20, 0.0])
_METRONOME_M = 0.17
_BEATS_PER_S = 1.0

_CORNERS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * (CUBE_M / 2)
# Corner indices of each face, around it, and its colour; lit from above.
_FACES: tuple[tuple[tuple[int, int, int, int], Colour], ...] = (
    ((4, 5, 7, 6), (96, 158, 235)),
    ((0, 1, 5, 4), (58, 118, 200)),
    ((3, 2, 6, 7), (58, 118, 200)),
    ((1, 3, 7, 5), (42, 94, 170)),
    ((2, 0, 4, 6), (42, 94, 170)),
)
_RING = np.array([[np.cos(a), np.sin(a), 0.0] for a in np.linspace(0, tau, 18, endpoint=False)])

# Where each thing's points are in `Scene.points`.
_CUBE, _CUBE_SHADOW, _TARGET_OUT, _TARGET_IN = slice(0, 8), slice(8, 12), slice(12, 30), slice(30, 48)
_GRIPPER_SHADOW = slice(48, 66)
_JOINTS = 66
_SHOULDER_AT, _ELBOW_AT, _WRIST_AT, _PALM_AT = range(_JOINTS, _JOINTS + 4)
_LEFT_TOP, _LEFT_TIP, _RIGHT_TOP, _RIGHT_TIP = range(_JOINTS + 4, _JOINTS + 8)
_BEAT_FOOT, _BEAT_TIP, _BEAT_WEIGHT = range(_JOINTS + 8, _JOINTS + 11)
_POINTS = _JOINTS + 11
# Of wrist, palm and fingers, from the point between the finger tips.
_SIDEWAYS = np.array([[side, 0.0, 0.0] for side in (0, 0, -1, -1, 1, 1)])
_UPWARDS = np.array([[0.0, 0.0, up_m] for up_m in (0.13, 0.065, 0.057, -0.015, 0.057, -0.015)])

_ORANGE: Colour = (226, 126, 58)
_LIGHT_ORANGE: Colour = (238, 150, 84)
_STEEL: Colour = (84, 92, 104)
_DARK_STEEL: Colour = (58, 64, 74)
_BEAT: Colour = (150, 66, 84)
# From, to, width in metres at both ends, colour.
_STROKES: tuple[tuple[int, int, float, float, Colour], ...] = (
    (_SHOULDER_AT, _ELBOW_AT, 0.062, 0.050, _ORANGE),
    (_ELBOW_AT, _WRIST_AT, 0.050, 0.036, _LIGHT_ORANGE),
    (_WRIST_AT, _PALM_AT, 0.036, 0.036, _STEEL),
    (_LEFT_TOP, _RIGHT_TOP, 0.022, 0.022, _STEEL),
    (_LEFT_TOP, _LEFT_TIP, 0.018, 0.012, _DARK_STEEL),
    (_RIGHT_TOP, _RIGHT_TIP, 0.018, 0.012, _DARK_STEEL),
    (_BEAT_FOOT, _BEAT_TIP, 0.010, 0.006, _BEAT),
)
_DISCS: tuple[tuple[int, float, Colour], ...] = (
    (_ELBOW_AT, 0.034, _DARK_STEEL),
    (_WRIST_AT, 0.026, _DARK_STEEL),
    (_BEAT_WEIGHT, 0.018, _BEAT),
)
# What a camera at the wrist would have in front of its lens.
_NEAR_WRIST = frozenset([_SHOULDER_AT, _ELBOW_AT, _WRIST_AT, _BEAT_FOOT, _BEAT_WEIGHT])
_DISC = [(np.cos(a), np.sin(a)) for a in np.linspace(0, tau, 14, endpoint=False)]


class Scene:
    """The points of everything that is drawn, in world coordinates, the same for all cameras.

    Attributes:
        ee: shape (3,), the gripper.
        points: shape (77, 4), homogeneous.
    """

    def __init__(self, world: World) -> None:
        self.ee = world.ee
        self.points = points = np.zeros((_POINTS, 4))
        points[:, 3] = 1.0
        xyz = points[:, :3]
        xyz[_CUBE] = world.cube + _CORNERS
        xyz[_CUBE_SHADOW, :2] = world.cube[:2] + _CORNERS[[0, 1, 3, 2], :2] * 1.1 + world.cube[2] * 0.12
        xyz[_TARGET_OUT, :2] = world.target + _RING[:, :2] * (CUBE_M * 0.5 + SUCCESS_RADIUS_M)
        xyz[_TARGET_IN, :2] = world.target + _RING[:, :2] * (CUBE_M * 0.5 + SUCCESS_RADIUS_M - 0.012)
        xyz[_GRIPPER_SHADOW, :2] = world.ee[:2] + _RING[:, :2] * (0.035, 0.022) + world.ee[2] * 0.12
        side = (world.opening + 0.018) / 2
        swing = 0.55 * sin(tau * _BEATS_PER_S / 2 * world.time_s)
        rod = np.array([sin(swing), 0.0, 1 - swing * swing / 2]) * _METRONOME_M
        xyz[_WRIST_AT : _RIGHT_TIP + 1] = world.ee + _SIDEWAYS * side + _UPWARDS
        xyz[_SHOULDER_AT] = _SHOULDER
        xyz[_ELBOW_AT] = _elbow(xyz[_WRIST_AT])
        xyz[_BEAT_FOOT] = _METRONOME
        xyz[_BEAT_TIP] = _METRONOME + rod
        xyz[_BEAT_WEIGHT] = _METRONOME + rod * 0.7


def _elbow(wrist: NDArray[np.float64]) -> NDArray[np.float64]:
    """The joint between two equal links from the shoulder to the wrist, bent upwards."""
    across = wrist - _SHOULDER
    length = float(np.linalg.norm(across))
    up = np.array([0.0, 0.0, 1.0])
    bend = up - across * (across[2] / (length * length))
    rise = max(0.0, _LINK_M**2 - length**2 / 4) ** 0.5
    elbow: NDArray[np.float64] = _SHOULDER + across / 2 + bend * (rise / max(float(np.linalg.norm(bend)), 1e-6))
    return elbow


class Painter:
    """One camera's pictures.

    Args:
        view: where it stands.
        width, height: of its pictures in pixels, at least 64x48.
        camera_index: goes into the frame code, 0 to 255.
    """

    def __init__(self, view: Viewpoint, width: int, height: int, camera_index: int) -> None:
        self._camera = Camera(view, width, height)
        self._canvas = Canvas(width, height)
        self._shape = (height, width, 3)
        self._index = camera_index
        hidden = _NEAR_WRIST if view.follows_gripper else frozenset[int]()
        self._strokes = [s for s in _STROKES if not hidden.intersection(s[:2])]
        self._discs = [d for d in _DISCS if d[0] not in hidden]
        table = np.array(view.table) * 255
        self._shadow = _mix(table, (40, 40, 50), 0.30)
        self._ring = _mix(table, (40, 150, 90), 0.85)
        self._ring_inside = _mix(table, (40, 150, 90), 0.30)
        if not view.follows_gripper:
            self._paint_fixtures()

    def paint(self, scene: Scene, frame_number: int) -> NDArray[np.uint8]:
        """A new picture, uint8 of shape (height, width, 3), with `frame_number` written in it twice."""
        matrix, room = self._camera.look(scene.ee)
        projected = scene.points @ matrix
        depth = projected[:, 2].tolist()
        at: list[Point] = [(u, v) for u, v in (projected[:, :2] / projected[:, 2:]).tolist()]
        picture = np.empty(self._shape, np.uint8)
        np.copyto(picture, room)
        shapes: list[Shape] = [
            (at[_TARGET_OUT], self._ring),
            (at[_TARGET_IN], self._ring_inside),
            (at[_CUBE_SHADOW], self._shadow),
            (at[_GRIPPER_SHADOW], self._shadow),
        ]
        for _, thing in sorted(self._things(at, depth), key=lambda thing: -thing[0]):
            shapes += thing
        self._canvas.fill(memoryview(picture.reshape(-1)), shapes)
        frame_code.draw(picture, frame_number, self._index)
        self._canvas.write_number(picture, frame_number)
        return picture

    def _paint_fixtures(self) -> None:
        """Put what never moves and stands behind everything that does into the empty room: base and metronome foot."""
        matrix, room = self._camera.look(_BASE)
        levels = np.linspace(_BASE, _SHOULDER, 8)
        radii = np.linspace(_BASE_RADIUS_M * 1.25, _BASE_RADIUS_M * 0.8, 8)
        # Its outline is the hull of rings; those of a cone seen from outside overlap, so drawing all of them does.
        rings = [centre + _RING * radius for centre, radius in zip(levels, radii, strict=True)]
        shapes: list[Shape] = []
        for lower, upper in pairwise(rings):
            for i in range(len(_RING)):
                j = (i + 1) % len(_RING)
                shapes.append((_project([lower[i], lower[j], upper[j], upper[i]], matrix), _DARK_STEEL))
        shapes.append((_project(rings[-1], matrix), _STEEL))
        shapes.append((_project(_METRONOME + _RING * 0.03, matrix), _BEAT))
        self._canvas.fill(memoryview(room.reshape(-1)), shapes)

    def _things(self, at: list[Point], depth: list[float]) -> list[tuple[float, list[Shape]]]:
        """What stands on or above the table: how far away, and its convex shapes from back to front."""
        cube: list[Shape] = [([at[i] for i in face], colour) for face, colour in _FACES if _faces_camera(at, face)]
        things: list[tuple[float, list[Shape]]] = [(sum(depth[_CUBE]) / 8, cube)]
        focal = self._camera.focal_px
        for start, end, start_m, end_m, colour in self._strokes:
            widths = focal * start_m / depth[start], focal * end_m / depth[end]
            shape = _tapered(at[start], at[end], *widths)
            things.append(((depth[start] + depth[end]) / 2, [(shape, colour)]))
        for centre, radius_m, colour in self._discs:
            (u, v), radius = at[centre], focal * radius_m / depth[centre]
            # Joints lie in front of the links that they join.
            things.append((depth[centre] - 0.05, [([(u + radius * x, v + radius * y) for x, y in _DISC], colour)]))
        return things


def _project(points: NDArray[np.float64] | list[NDArray[np.float64]], matrix: NDArray[np.float64]) -> list[Point]:
    projected = np.hstack([np.asarray(points), np.ones((len(points), 1))]) @ matrix
    return [(u, v) for u, v in (projected[:, :2] / projected[:, 2:]).tolist()]


def _faces_camera(at: list[Point], face: tuple[int, int, int, int]) -> bool:
    """Whether the corners run anticlockwise as seen (v points down), which the outside of a face does."""
    (ax, ay), (bx, by), (cx, cy) = at[face[0]], at[face[1]], at[face[2]]
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) < 0


def _tapered(start: Point, end: Point, start_px: float, end_px: float) -> list[Point]:
    """The four corners of a line of changing width; a square when both ends fall together."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy)
    if length < 1.0:
        dx, dy, length = 1.0, 0.0, 1.0
        start, end = (start[0] - start_px / 2, start[1]), (end[0] + end_px / 2, end[1])
    nx, ny = -dy / length / 2, dx / length / 2
    return [
        (start[0] + nx * start_px, start[1] + ny * start_px),
        (end[0] + nx * end_px, end[1] + ny * end_px),
        (end[0] - nx * end_px, end[1] - ny * end_px),
        (start[0] - nx * start_px, start[1] - ny * start_px),
    ]


def _mix(base: NDArray[np.float64], colour: Colour, share: float) -> Colour:
    r, g, b = (base * (1 - share) + np.array(colour) * share).tolist()
    return round(r), round(g), round(b)

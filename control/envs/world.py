"""The tabletop's physics: a gripper, a cube that can be grasped, carried and dropped, and a target on the table.

Lengths are in metres, x to the right, y away from the front camera, z up from the table. There is no contact but the
grasp: an open or empty gripper passes through the cube.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CUBE_M = 0.05
CUBE_REST_Z_M = CUBE_M / 2
MAX_OPENING_M = 0.09
MAX_SPEED_M_S = 0.28
GRIPPER_SPEED_M_S = 0.25
SUCCESS_RADIUS_M = 0.02

# Where the point between the finger tips can be.
EE_LOW_M = np.array([-0.25, -0.18, 0.02])
EE_HIGH_M = np.array([0.25, 0.18, 0.30])

_GRASP_REACH_M = 0.02
# A little more than the cube, so that a held cube is not lost to rounding.
_RELEASE_OPENING_M = CUBE_M + 0.004
_FALL_SPEED_M_S = 0.6
_START_M = np.array([0.0, -0.06, 0.20])
_START_SPREAD_M = np.array([0.04, 0.04, 0.02])
_SPAWN_M = np.array([0.20, 0.13])
_MIN_CARRY_M = 0.15


@dataclass(slots=True)
class World:
    """Everything that moves.

    Attributes:
        ee: shape (3,), the point between the finger tips.
        opening: distance between the fingers, 0 to 0.09.
        cube: shape (3,), its centre.
        target: shape (2,), on the table.
        held: the cube is between closed fingers.
        time_s: since the reset.
        placed: the cube has lain on the target, released; stays true.
    """

    ee: NDArray[np.float64]
    opening: float
    cube: NDArray[np.float64]
    target: NDArray[np.float64]
    held: bool = False
    time_s: float = 0.0
    placed: bool = False

    @classmethod
    def random(cls, rng: np.random.Generator) -> World:
        """An open gripper above the table, a cube, and a target at least 0.15 m away from it."""
        ee = _START_M + rng.uniform(-1, 1, 3) * _START_SPREAD_M
        cube = rng.uniform(-1, 1, 2) * _SPAWN_M
        target = cube
        while np.hypot(*(target - cube)) < _MIN_CARRY_M:
            target = rng.uniform(-1, 1, 2) * _SPAWN_M
        return cls(ee=ee, opening=MAX_OPENING_M, cube=np.append(cube, CUBE_REST_Z_M), target=target)

    def step(self, action: NDArray[np.float32], dt_s: float) -> None:
        """Advance by `dt_s` under `action`, shape (4,) in [-1, 1]; zeros leave gripper and held cube where they are."""
        before = self.ee
        self.ee = np.clip(before + action[:3] * (MAX_SPEED_M_S * dt_s), EE_LOW_M, EE_HIGH_M)
        if self.held:
            self.cube = self.cube + (self.ee - before)
            self.cube[2] = max(self.cube[2], CUBE_REST_Z_M)
        self._move_fingers(float(action[3]) * GRIPPER_SPEED_M_S * dt_s)
        if not self.held and self.cube[2] > CUBE_REST_Z_M:
            self.cube[2] = max(CUBE_REST_Z_M, self.cube[2] - _FALL_SPEED_M_S * dt_s)
        self.time_s += dt_s
        self.placed = self.placed or self._lies_on_target()

    def _move_fingers(self, change_m: float) -> None:
        wanted = min(max(self.opening + change_m, 0.0), MAX_OPENING_M)
        if change_m < 0 and wanted <= CUBE_M <= self.opening and self._reaches_cube():
            self.held = True
        if self.held:
            wanted = max(wanted, CUBE_M)
            self.held = wanted < _RELEASE_OPENING_M
        self.opening = wanted

    def _reaches_cube(self) -> bool:
        return bool(np.all(np.abs(self.ee - self.cube) <= _GRASP_REACH_M))

    def _lies_on_target(self) -> bool:
        at_rest = not self.held and self.cube[2] <= CUBE_REST_Z_M
        return bool(at_rest and np.hypot(*(self.cube[:2] - self.target)) <= SUCCESS_RADIUS_M)

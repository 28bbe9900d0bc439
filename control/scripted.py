"""Teleoperators without a person: one that solves the tabletop, one that acts at random in any environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from enum import Enum, auto
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from control.envs.world import CUBE_M, CUBE_REST_Z_M, EE_HIGH_M, EE_LOW_M, MAX_OPENING_M, MAX_SPEED_M_S
from control.teleoperator import TeleopAction

STATE_KEY = "observation.state"
INTERVENTION_START_S = 0.5
INTERVENTION_S = 0.4
EVENT_S = 1.5

_CARRY_Z_M = 0.12
# An axis slows down over its last few steps, as a person would.
_BRAKE_STEPS = 3.0
_NEAR_M = 0.006
_TREMOR = 0.04


class _Phase(Enum):
    APPROACH = auto()
    DESCEND = auto()
    GRASP = auto()
    LIFT = auto()
    CARRY = auto()
    LOWER = auto()
    RELEASE = auto()
    RETREAT = auto()
    DONE = auto()


class ScriptedTeleoperator:
    """Solves `onbeat/Tabletop-v0` from `observation.state` alone, in 3 to 4 seconds.

    It opens the gripper above the cube, descends, grasps, lifts, carries, lowers and releases it on the target, then
    retreats. From 0.5 s into every episode, for 0.4 s, it plays a person who takes over: the gripper is pushed aside
    and upwards (`is_intervention` is true in these ticks only); afterwards the script goes on from where that left it.

    Args:
        fps: ticks per second; the environment's own `fps` for motions at the speed meant.
        speed: the largest action used, above 0 and at most 1; lower takes longer.
        seed: of the slight tremor and of the side to which the intervention pushes; the same seed gives the same
            actions for the same observations.
        rerecord_episodes: attempts (0-based count of `reset`) that ask once for a re-record, 1.5 s after the reset.
        fail_episodes: attempts that signal failure once, 1.5 s after the reset.
        success_by: "env" leaves it to the environment to notice; "operator" signals success once the cube is placed.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        fps: float = 30,
        speed: float = 1.0,
        seed: int = 0,
        rerecord_episodes: Sequence[int] = (),
        fail_episodes: Sequence[int] = (),
        success_by: Literal["env", "operator"] = "env",
    ) -> None:
        if not fps > 0:
            raise ValueError(f"{fps} ticks per second found, expected more than 0")
        if not 0 < speed <= 1:
            raise ValueError(f"speed {speed} found, expected above 0 and at most 1")
        if success_by not in ("env", "operator"):
            raise ValueError(f"success_by {success_by!r} found, expected 'env' or 'operator'")
        self._fps = fps
        self._speed = speed
        self._seed = seed
        self._rerecord = frozenset(rerecord_episodes)
        self._fail = frozenset(fail_episodes)
        self._success_by_operator = success_by == "operator"
        self._intervention_end = self._ticks(INTERVENTION_START_S) + max(1, self._ticks(INTERVENTION_S))
        self._attempt = -1
        self._begin()

    def reset(self) -> None:
        """A new attempt begins."""
        self._attempt += 1
        self._begin()

    def _begin(self) -> None:
        rng = np.random.default_rng([self._seed, max(self._attempt, 0)])
        self._side = float(rng.choice([-1.0, 1.0]))
        self._tremor_phase = rng.uniform(0, 2 * np.pi, 3)
        self._phase = _Phase.APPROACH
        self._tick = 0
        self._announced = False

    def act(self, observation: Any, info: Mapping[str, Any]) -> TeleopAction:
        """Decide the next action.

        Args:
            observation: a mapping with `observation.state`, the nine numbers of the tabletop, with or without a batch
                dimension of one.
            info: not looked at.

        Returns:
            An action of shape (4,), and the events of this tick.

        Raises:
            ValueError: the observation is not the tabletop's.
        """
        ee, opening, cube, target = _read_state(observation)
        self._advance(ee, opening, cube, target)
        wanted, grip = self._goal(ee, cube, target)
        brake_m = _BRAKE_STEPS * MAX_SPEED_M_S / self._fps
        move = np.clip((wanted - ee) / brake_m, -1, 1)
        intervenes = self._ticks(INTERVENTION_START_S) <= self._tick < self._intervention_end
        if intervenes:
            move = np.array([0.5 * self._side, 0.0, 0.4])
        elif self._phase is not _Phase.DONE:
            move = move + _TREMOR * np.sin(0.2 * self._tick * 30 / self._fps + self._tremor_phase)
        action = np.clip(np.append(move, grip) * self._speed, -1, 1).astype(np.float32)
        at_event = self._tick == self._ticks(EVENT_S)
        success = self._success_by_operator and self._phase is _Phase.RETREAT and not self._announced
        self._announced = self._announced or success
        self._tick += 1
        return TeleopAction(
            action=action,
            is_intervention=intervenes,
            success=success,
            failure=at_event and self._attempt in self._fail,
            rerecord=at_event and self._attempt in self._rerecord,
        )

    def close(self) -> None:
        """Nothing to release."""

    def _ticks(self, seconds: float) -> int:
        return round(seconds * self._fps)

    def _advance(
        self, ee: NDArray[np.float64], opening: float, cube: NDArray[np.float64], target: NDArray[np.float64]
    ) -> None:
        """Enter the next phase when the present one has reached its aim; start again when the cube was lost."""
        if self._phase in (_Phase.LIFT, _Phase.CARRY, _Phase.LOWER) and np.max(np.abs(ee - cube)) > CUBE_M:
            self._phase = _Phase.APPROACH
        if self._phase in (_Phase.DESCEND, _Phase.GRASP) and np.max(np.abs((ee - cube)[:2])) > CUBE_M / 2:
            self._phase = _Phase.APPROACH
        match self._phase:
            case _Phase.APPROACH:
                above = np.max(np.abs((ee - cube)[:2])) < _NEAR_M and opening > CUBE_M + 0.02
                self._phase = _Phase.DESCEND if above else self._phase
            case _Phase.DESCEND if abs(ee[2] - cube[2]) < _NEAR_M:
                self._phase = _Phase.GRASP
            case _Phase.GRASP if opening < CUBE_M + 0.002:
                self._phase = _Phase.LIFT
            case _Phase.LIFT if cube[2] > _CARRY_Z_M - 0.03:
                self._phase = _Phase.CARRY
            case _Phase.CARRY if np.max(np.abs(cube[:2] - target)) < _NEAR_M:
                self._phase = _Phase.LOWER
            case _Phase.LOWER if cube[2] < CUBE_REST_Z_M + _NEAR_M:
                self._phase = _Phase.RELEASE
            case _Phase.RELEASE if opening > MAX_OPENING_M - 0.015:
                self._phase = _Phase.RETREAT
            case _Phase.RETREAT if ee[2] > _CARRY_Z_M:
                self._phase = _Phase.DONE
            case _:
                pass

    def _goal(
        self, ee: NDArray[np.float64], cube: NDArray[np.float64], target: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """Where the gripper should go, shape (3,) in metres, and what the fingers should do, -1 close to 1 open."""
        match self._phase:
            case _Phase.APPROACH:
                return np.array([cube[0], cube[1], _CARRY_Z_M]), 1.0
            case _Phase.DESCEND:
                return cube, 1.0
            case _Phase.GRASP:
                return cube, -1.0
            case _Phase.LIFT:
                return np.array([ee[0], ee[1], _CARRY_Z_M + 0.01]), -0.2
            case _Phase.CARRY:
                # By the cube, not by the gripper: it may sit off the middle.
                return np.append(ee[:2] + target - cube[:2], _CARRY_Z_M), -0.2
            case _Phase.LOWER:
                return np.append(ee[:2] + target - cube[:2], ee[2] - cube[2] + CUBE_REST_Z_M - 0.002), -0.2
            case _Phase.RELEASE:
                return ee, 1.0
            case _Phase.RETREAT:
                return np.array([ee[0], ee[1], _CARRY_Z_M + 0.03]), 0.0
            case _Phase.DONE:
                return ee, 0.0


class RandomTeleoperator:
    """Samples actions of any gymnasium space; the same seed gives the same actions.

    Args:
        action_space: a Box, Discrete or other space; it is copied, so that its own random state stays as it is.
        seed: of the samples.
    """

    def __init__(self, action_space: gymnasium.Space[Any], seed: int = 0) -> None:
        self._space = deepcopy(action_space)
        self._space.seed(seed)

    def reset(self) -> None:
        """The samples simply go on."""

    def act(self, observation: Any, info: Mapping[str, Any]) -> TeleopAction:
        """The next sample as an array of the space's own shape and dtype; for Discrete a whole number, shape ()."""
        return TeleopAction(action=np.asarray(self._space.sample()))

    def close(self) -> None:
        """Nothing to release."""


def _read_state(
    observation: Any,
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
    if not isinstance(observation, Mapping) or STATE_KEY not in observation:
        raise ValueError(
            f"an observation without {STATE_KEY!r} found; the scripted teleoperator knows only the tabletop"
        )
    state = np.asarray(observation[STATE_KEY], dtype=np.float64).reshape(-1)
    if state.size != 9:
        raise ValueError(f"{STATE_KEY} of {state.size} numbers found, expected the tabletop's 9")
    ee = np.clip(state[:3], EE_LOW_M, EE_HIGH_M)
    return ee, float(state[3]), state[4:7], state[7:9]

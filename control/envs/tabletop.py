"""`onbeat/Tabletop-v0`: a gripper moves a cube onto a target, seen by any number of cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from control.envs import frame_code
from control.envs.drawing import Painter, Scene
from control.envs.views import camera_names, viewpoint
from control.envs.world import EE_HIGH_M, EE_LOW_M, MAX_OPENING_M, World
from control.scripted import ScriptedTeleoperator

ACTION_NAMES = ("delta_x_ee", "delta_y_ee", "delta_z_ee", "gripper_delta")
STATE_NAMES = ("ee_x", "ee_y", "ee_z", "gripper", "cube_x", "cube_y", "cube_z", "target_x", "target_y")
GRIPPER_PENALTY = -0.1

# A finger command below this is neither opening nor closing.
_GRIPPER_DEADBAND = 0.3
_REACH_M = 0.30

Observation = dict[str, NDArray[Any]]


class Tabletop(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A deterministic tabletop: same seed and actions, same states and pictures. Needs numpy only.

    Action: float32 of shape (4,) in [-1, 1], `delta_x_ee, delta_y_ee, delta_z_ee, gripper_delta`: fractions of the
    largest motion in one step (0.28 m/s, fingers 0.25 m/s; positive opens). All zeros change nothing that the gripper
    holds or is. Values outside are clipped.

    Observation: `observation.state`, float32 of shape (9,), metres, named in `metadata["state_names"]`; and
    `observation.images.NAME` per camera. Every array is new in every step. Each picture carries the number of steps
    since the reset, as digits and as `control.envs.frame_code`.

    Reward is 1.0, `terminated` and `info["success"]` are true as soon as the cube lies on the target, released; and
    they stay so: stepping on is allowed (`metadata["steps_after_end"]`).

    `info` of every step: `success`, `is_intervention`, `rerecord_episode` (bool), `discrete_penalty` (-0.1 when the
    fingers turn from opening to closing or back, else 0.0); with `intervention="scripted"` also `action_intervention`,
    the action that was really applied, float32 of shape (4,).

    Args:
        cameras: how many, or their names. The first are called front, wrist, top, left, right, camera5, camera6, ...
            A name of one's own gets a viewpoint of its own.
        width, height: of every picture, at least 64x48; odd sizes too.
        fps: steps per second of the simulated time.
        state_noise: standard deviation in metres of what is added to `observation.state`.
        intervention: "scripted": the environment itself plays the teleoperator; every action that is passed to `step`
            is replaced by the scripted one, as a person at a HIL-SERL wrapper does. "none": actions are applied.
        rerecord_episodes: with intervention="scripted": the attempts (0-based count of `reset`) that ask for a
            re-record once, 1.5 s after the reset.
        channels_first: pictures are (3, height, width) instead of (height, width, 3).
        image_dtype: "uint8", or "float32" in [0, 1].
        max_episode_s: `truncated` is true from then on, unless the cube was placed; None is never.
        render_mode: "rgb_array", or None; `render` gives the first camera's picture.

    Raises:
        ValueError: an argument is out of its range.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # gymnasium declares it per instance
        "render_modes": ["rgb_array"],
        "render_fps": 30,
        "neutral_action": [0.0, 0.0, 0.0, 0.0],
        "steps_after_end": True,
        "action_names": list(ACTION_NAMES),
        "state_names": list(STATE_NAMES),
    }

    def __init__(
        self,
        cameras: int | Sequence[str] = 2,
        width: int = 640,
        height: int = 480,
        fps: int = 30,
        state_noise: float = 0.0,
        intervention: Literal["none", "scripted"] = "none",
        rerecord_episodes: Sequence[int] = (),
        channels_first: bool = False,
        image_dtype: Literal["uint8", "float32"] = "uint8",
        max_episode_s: float | None = 20.0,
        render_mode: str | None = None,
    ) -> None:
        if width < frame_code.MIN_WIDTH or height < frame_code.MIN_HEIGHT:
            smallest = f"{frame_code.MIN_WIDTH}x{frame_code.MIN_HEIGHT}"
            raise ValueError(f"pictures of {width}x{height} found, expected at least {smallest}")
        if not fps > 0:
            raise ValueError(f"fps {fps} found, expected more than 0")
        if not state_noise >= 0:
            raise ValueError(f"state_noise {state_noise} found, expected 0 or more, in metres")
        if max_episode_s is not None and not max_episode_s > 0:
            raise ValueError(f"max_episode_s {max_episode_s} found, expected more than 0, or None")
        _expect("intervention", intervention, ("none", "scripted"))
        _expect("image_dtype", image_dtype, ("uint8", "float32"))
        _expect("render_mode", render_mode, (None, "rgb_array"))
        names = camera_names(cameras)
        self.metadata = {**Tabletop.metadata, "render_fps": fps}  # type: ignore[misc]
        self.render_mode = render_mode
        self._fps = fps
        self._noise = state_noise
        self._scripted = intervention == "scripted"
        self._rerecord = frozenset(rerecord_episodes)
        self._channels_first = channels_first
        self._as_float = image_dtype == "float32"
        self._max_steps = None if max_episode_s is None else max(1, round(max_episode_s * fps))
        self._painters = {
            f"observation.images.{name}": Painter(viewpoint(name, index), width, height, index)
            for index, name in enumerate(names)
        }
        self._size = (width, height)
        shape = (3, height, width) if channels_first else (height, width, 3)
        low, high, dtype = (0.0, 1.0, np.float32) if self._as_float else (0, 255, np.uint8)
        state_low = np.concatenate([EE_LOW_M, [0.0], [-_REACH_M, -_REACH_M, 0.0], [-_REACH_M, -_REACH_M]])
        state_high = np.concatenate([EE_HIGH_M, [MAX_OPENING_M], [_REACH_M] * 3, [_REACH_M] * 2])
        self._state_low, self._state_high = state_low.astype(np.float32), state_high.astype(np.float32)
        boxes: dict[str, spaces.Space[Any]] = {
            "observation.state": spaces.Box(self._state_low, self._state_high, dtype=np.float32),
            **{key: spaces.Box(low, high, shape, dtype) for key in self._painters},
        }
        # gymnasium types a Dict's samples as dict[str, Any], which is not this Space's parameter.
        self.observation_space = cast(spaces.Space[Observation], spaces.Dict(boxes))
        self.action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self._attempt = -1
        self._world: World | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Put cube, target and gripper somewhere new; `seed` makes it repeatable. `options` are not looked at."""
        super().reset(seed=seed)
        self._attempt += 1
        self._step = 0
        self._finger_direction = 1
        self._world = World.random(self.np_random)
        self._operator: ScriptedTeleoperator | None = None
        if self._scripted:
            asks = (0,) if self._attempt in self._rerecord else ()
            operator_seed = int(self.np_random.integers(1 << 31))
            self._operator = ScriptedTeleoperator(fps=self._fps, seed=operator_seed, rerecord_episodes=asks)
            self._operator.reset()
        self._state = self._observed_state(self._world)
        return self._observation(self._world), self._info(0.0, False, None)

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance by one frame.

        Raises:
            ValueError: the action is not four finite numbers.
            gymnasium.error.ResetNeeded: `reset` was never called.
        """
        world = self._begun()
        rerecord = False
        applied: NDArray[np.float32] | None = None
        if self._operator is not None:
            decided = self._operator.act({"observation.state": self._state}, {})
            assert decided.action is not None
            action = applied = decided.action
            rerecord = decided.rerecord
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (4,) or not np.isfinite(action).all():
            raise ValueError(f"action {action.tolist()} found, expected 4 finite numbers: {', '.join(ACTION_NAMES)}")
        action = np.clip(action, -1.0, 1.0)
        world.step(action, 1 / self._fps)
        self._step += 1
        self._state = self._observed_state(world)
        reward = 1.0 if world.placed else 0.0
        truncated = not world.placed and self._max_steps is not None and self._step >= self._max_steps
        info = self._info(self._penalty(float(action[3])), rerecord, applied)
        return self._observation(world), reward, world.placed, truncated, info

    def render(self) -> NDArray[np.uint8] | None:
        """The first camera's picture as uint8 (height, width, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        painter = next(iter(self._painters.values()), None) or Painter(viewpoint("front", 0), *self._size, 0)
        return painter.paint(Scene(self._begun()), self._step)

    def _begun(self) -> World:
        if self._world is None:
            raise gymnasium.error.ResetNeeded("step or render found before the first reset; call reset first")
        return self._world

    def _observed_state(self, world: World) -> NDArray[np.float32]:
        state = np.array([*world.ee, world.opening, *world.cube, *world.target])
        if self._noise:
            state += self.np_random.normal(0.0, self._noise, state.size)
        return np.clip(state.astype(np.float32), self._state_low, self._state_high)

    def _observation(self, world: World) -> Observation:
        observation: Observation = {"observation.state": self._state.copy()}
        scene = Scene(world)
        for key, painter in self._painters.items():
            observation[key] = self._as_asked(painter.paint(scene, self._step))
        return observation

    def _as_asked(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        asked = np.ascontiguousarray(picture.transpose(2, 0, 1)) if self._channels_first else picture
        if not self._as_float:
            return asked
        # In place: a second picture of floats would cost ten times as much.
        scaled = asked.astype(np.float32)
        scaled *= np.float32(1 / 255)
        return scaled

    def _penalty(self, finger_command: float) -> float:
        if abs(finger_command) < _GRIPPER_DEADBAND:
            return 0.0
        direction = 1 if finger_command > 0 else -1
        turned = direction != self._finger_direction
        self._finger_direction = direction
        return GRIPPER_PENALTY if turned else 0.0

    def _info(self, penalty: float, rerecord: bool, applied: NDArray[np.float32] | None) -> dict[str, Any]:
        info: dict[str, Any] = {
            "success": self._begun().placed,
            "is_intervention": applied is not None,
            "rerecord_episode": rerecord,
            "discrete_penalty": penalty,
        }
        if applied is not None:
            info["action_intervention"] = applied.copy()
        return info


def _expect(name: str, found: object, allowed: tuple[object, ...]) -> None:
    if found not in allowed:
        raise ValueError(f"{name} {found!r} found, expected one of {', '.join(map(repr, allowed))}")

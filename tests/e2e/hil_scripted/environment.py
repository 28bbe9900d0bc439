"""`gym_hil/Reach-v0`: gym_hil's interface without its physics and renderer, steered through gym_hil's own wrapper.

Its pictures show how many steps were made since the reset, its state is the sum of the actions.
"""

from __future__ import annotations

import json
import os
from typing import Any

import gymnasium
import numpy as np
from gym_hil.wrappers.hil_wrappers import InputsControlWrapper
from gym_hil.wrappers.intervention_utils import InputController

from .script import MOVE, Script

SIDE = 32
PENALTY_STEP = 1
# The script comes by this variable, because lerobot passes no arguments of ours to an environment of gym_hil's.
WORDS = "HIL_SCRIPTED_WORDS"


class Reach(gymnasium.Env[Any, Any]):
    """Pays `gripper_penalty` in step `PENALTY_STEP` of each episode."""

    action_space = gymnasium.spaces.Box(-2, 2, (4,), np.float32)
    observation_space = gymnasium.spaces.Dict(
        agent_pos=gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32),
        pixels=gymnasium.spaces.Dict(front=gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)),
    )

    def __init__(self, *, image_obs: bool, render_mode: str, use_gripper: bool, gripper_penalty: float) -> None:
        assert image_obs
        assert use_gripper
        self.render_mode = render_mode
        self._penalty = gripper_penalty

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps, self._position = 0, np.zeros(4, np.float32)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._position = self._position + np.asarray(action, np.float32)
        penalty = self._penalty if self._steps - 1 == PENALTY_STEP else 0.0
        return self._observe(), 0.0, False, False, {"succeed": False, "discrete_penalty": penalty}

    def _observe(self) -> dict[str, Any]:
        picture = np.full((SIDE, SIDE, 3), 8 * self._steps, np.uint8)
        return {"agent_pos": self._position.copy(), "pixels": {"front": picture}}


class _Words(InputController):
    """gym_hil's controller, played by a script."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def update(self) -> None:
        word = self._script.next_word()
        self.intervention_flag = word == "move"
        self.open_gripper_command = word == "move"
        ends = {"success": "success", "fail": "failure", "again": "rerecord_episode"}
        self.episode_end_status = ends.get(word)

    def get_deltas(self) -> tuple[float, float, float]:
        return MOVE[:3]


class _Steered(InputsControlWrapper):
    """Without the device that gym_hil would open."""

    def __init__(self, env: gymnasium.Env[Any, Any], script: Script) -> None:
        gymnasium.Wrapper.__init__(self, env)
        self.controller = _Words(script)
        self.auto_reset, self.use_gripper, self.input_threshold = False, True, 0.001


def make_reach(**kwargs: Any) -> gymnasium.Env[Any, Any]:
    """What is registered."""
    return _Steered(Reach(**kwargs), Script(json.loads(os.environ[WORDS])))


gymnasium.register("gym_hil/Reach-v0", entry_point=make_reach)

"""lerobot's HIL-SERL environment with its processors: reset and step by lerobot's own functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lerobot.rl import gym_manipulator
from lerobot.teleoperators import TeleopEvents
from numpy.typing import NDArray

from control.clock import Clock


class Rollout:
    """Implements `control.hil_source.Rollout`.

    Args:
        env: `RobotEnv`, or a gymnasium environment of gym_hil's.
        processors: the environment's and the action's, as `make_processors` gives them.
        neutral: the action while nobody intervenes; `Neutral` or `Hold`.
        sleep: sleeps for so many seconds in a reset; raises when the session is to end.
        release: closes everything; told whether the session failed.
    """

    def __init__(
        self,
        env: Any,
        processors: tuple[Any, Any],
        neutral: Neutral,
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        release: Callable[[bool], None],
    ) -> None:
        self._env = _Clocked(env, clock)
        self._env_processor, self._action_processor = processors
        self._neutral, self._sleep, self._release = neutral, sleep, release
        self._transition: Any = None

    @property
    def sent_ns(self) -> int:
        return self._env.sent_ns

    @property
    def returned_ns(self) -> int:
        return self._env.returned_ns

    def reset(self) -> Any:
        with _sleeping_by(self._sleep):
            self._transition = gym_manipulator.reset_and_build_transition(
                self._env, self._env_processor, self._action_processor
            )
        self._neutral.begin(self._transition)
        return self._transition

    def step(self) -> Any:
        self._transition = gym_manipulator.step_env_and_process_transition(
            self._env, self._transition, self._neutral.action(), self._env_processor, self._action_processor
        )
        self._neutral.acted(self._transition)
        return self._transition

    def close(self, *, failed: bool) -> None:
        self._release(failed)


class Neutral:
    """What `control_loop` passes on while nobody intervenes: no motion, and 1, which leaves the gripper as it is."""

    def __init__(self, *, use_gripper: bool) -> None:
        self._values = [0.0, 0.0, 0.0, 1.0] if use_gripper else [0.0, 0.0, 0.0]

    def begin(self, transition: Any) -> None:
        """An episode begins with this transition."""

    def action(self) -> torch.Tensor:
        # A new one each time: the processors hand it on.
        return torch.tensor(self._values, dtype=torch.float32)

    def acted(self, transition: Any) -> None:
        """A step came back with this transition."""


class Hold(Neutral):
    """Joint targets: the last one again, at first where the joints are.

    Args:
        joints: the robot's motors, in its order.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        self._joints = joints
        self._target = torch.zeros(len(joints))

    def begin(self, transition: Any) -> None:
        positions = transition["complementary_data"]["raw_joint_positions"]
        self._target = torch.tensor([positions[f"{joint}.pos"] for joint in self._joints], dtype=torch.float32)

    def action(self) -> torch.Tensor:
        return self._target.clone()

    def acted(self, transition: Any) -> None:
        self._target = transition["action"].detach().cpu().reshape(-1).float()


class Leader:
    """A leader arm that knows nothing of episodes, as a teleoperator for HIL-SERL: it always acts.

    Args:
        teleop: its action is one position a joint.
    """

    def __init__(self, teleop: Any) -> None:
        self._teleop = teleop
        self._names = list(teleop.action_features)

    @property
    def action_features(self) -> dict[str, Any]:
        return {"dtype": "float32", "shape": (len(self._names),), "names": self._names}

    def get_action(self) -> NDArray[np.float32]:
        """Positions, of shape (joints,)."""
        action = self._teleop.get_action()
        return np.array([action[name] for name in self._names], np.float32)

    def get_teleop_events(self) -> dict[TeleopEvents, bool]:
        return {event: event is TeleopEvents.IS_INTERVENTION for event in TeleopEvents}


class _Clocked:
    """The environment, with the times at which it got an action and gave an answer."""

    def __init__(self, env: Any, clock: Clock) -> None:
        self._env, self._now_ns = env, clock.now_ns
        self.sent_ns = self.returned_ns = clock.now_ns()
        self.reset = env.reset
        # lerobot asks whether it is there.
        if hasattr(env, "get_raw_joint_positions"):
            self.get_raw_joint_positions = env.get_raw_joint_positions

    def step(self, action: Any) -> Any:
        self.sent_ns = self._now_ns()
        stepped = self._env.step(action)
        self.returned_ns = self._now_ns()
        return stepped


@contextmanager
def _sleeping_by(sleep: Callable[[float], None]) -> Iterator[None]:
    """Let lerobot's reset sleep so that the session can end in it: between two targets of its trajectory and after it,
    when no bus is in use."""
    stock = gym_manipulator.precise_sleep
    gym_manipulator.precise_sleep = sleep
    try:
        yield
    finally:
        gym_manipulator.precise_sleep = stock

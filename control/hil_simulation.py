"""gym_hil's environments for HIL-SERL, and a teleoperator of lerobot's for them."""

from __future__ import annotations

from typing import Any

import gymnasium
from lerobot.processor import (
    AddTeleopActionAsComplimentaryDataStep,
    AddTeleopEventsAsInfoStep,
    DataProcessorPipeline,
    InterventionActionProcessorStep,
    identity_transition,
)

from control.errors import EnvironmentRefused
from control.gym_make import make_env
from control.hil_config import HilConfig
from control.lerobot_device import one_line
from transport.errors import UsageError

# gym_hil registers its environments themselves under this module; they know nothing of grippers and penalties.
_BARE = "gym_hil.envs:"
_ADVICE = "without a display set MUJOCO_GL to egl or osmesa, see docs/hil-serl.md"
NO_EVENTS = "it gives no events; use gamepad, keyboard_ee or another one with get_teleop_events"


def gym_hil_env(config: HilConfig) -> Any:
    """As lerobot's `make_robot_env` does; an environment that gym_hil has not wrapped is wrapped by gym_hil here.

    Raises:
        EnvironmentRefused: a package or a renderer is missing, or there is no such environment.
    """
    gripper = config.env.processor.gripper
    ours = {"use_gripper": True, "gripper_penalty": 0.0 if gripper is None else gripper.gripper_penalty}
    env_id, kwargs = f"gym_hil/{config.env.task}", {"image_obs": True, "render_mode": "human"}
    try:
        import gym_hil
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "gym_hil":
            raise EnvironmentRefused("gym_hil is missing; run: pip install 'onbeat[hil]'") from error
        raise EnvironmentRefused(f"gym_hil cannot be used: {one_line(error)}; {_ADVICE}") from error
    spec = gymnasium.registry.get(env_id)
    is_bare = spec is not None and str(spec.entry_point).startswith(_BARE)
    try:
        env = make_env(env_id, kwargs if is_bare else kwargs | ours)
    except EnvironmentRefused as error:
        raise EnvironmentRefused(f"{error}; {_ADVICE}" if spec is not None else str(error)) from error
    return gym_hil.wrap_env(env, **ours) if is_bare else env


def with_teleoperator(pipeline: Any, teleop: Any, config: HilConfig) -> Any:
    """gym_hil's pipeline for actions with the two steps in front that a real robot's has.

    Raises:
        UsageError: the teleoperator gives no events.
    """
    if not hasattr(teleop, "get_teleop_events"):
        raise UsageError(f"--env.teleop.type={config.env.teleop.type} found; {NO_EVENTS}")
    rest = [step for step in pipeline.steps if not isinstance(step, InterventionActionProcessorStep)]
    steps = [
        AddTeleopActionAsComplimentaryDataStep(teleop_device=teleop),
        AddTeleopEventsAsInfoStep(teleop_device=teleop),
        InterventionActionProcessorStep(use_gripper=True, terminate_on_success=config.terminates_on_success),
        *rest,
    ]
    return DataProcessorPipeline(steps=steps, to_transition=identity_transition, to_output=identity_transition)

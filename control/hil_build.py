"""From lerobot's gym_manipulator configuration to a source, ready to be recorded. Runs in the control process."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from typing import Any

import torch
from lerobot.rl import gym_manipulator
from lerobot.robots import make_robot_from_config
from lerobot.teleoperators import make_teleoperator_from_config

from control.abort import Abort
from control.camera_watch import CameraWatch
from control.clock import SystemClock
from control.config import TimingFlags
from control.errors import SourceError
from control.gym_declared import refuse_auto_reset
from control.hil_config import HilConfig
from control.hil_features import GYM_ACTION
from control.hil_robot import HeldRobot
from control.hil_rollout import Hold, Leader, Neutral, Rollout
from control.hil_simulation import NO_EVENTS, gym_hil_env, with_teleoperator
from control.hil_source import HilSource
from control.lerobot_account import CameraLimits
from control.lerobot_build import connect, end_process, offer
from control.lerobot_cameras import take_cameras
from control.lerobot_device import one_line, release
from control.lerobot_guard import GuardedRobot
from transport.errors import OnbeatError, UsageError
from transport.link import Link

# As make_robot_env leaves it.
_RESET_TIME_S = 5.0


def build_source(
    config: HilConfig, timing: TimingFlags, link: Link, abort: Abort, *, counts_success: bool, on_fault: str
) -> HilSource:
    """Make environment, teleoperator and processors, and look once to learn the columns.

    Args:
        link: to whoever talks to the operator.
        abort: ends the session also in a reset.
        counts_success: as `HilSource` has it.
        on_fault: how a robot is left when the session does not end in order: `release` or `hold`.

    Raises:
        UsageError: a configuration that cannot be, a device that is not calibrated, a package that is missing.
        SourceError: a device does not answer.
    """
    # lerobot's module asks for INFO when it is imported; its lines would come between those for the operator.
    logging.getLogger().setLevel(logging.WARNING)
    # What its environments and its pipeline for gym_hil say in each session, and nobody here can change.
    for message in ("To copy construct from a tensor", r".*precision lowered by casting"):
        warnings.filterwarnings("ignore", message, UserWarning)
    if config.env.processor.reward_classifier is None:
        # A parallel part of a step would wait for threads that run at normal priority.
        torch.set_num_threads(1)
    # From here on an arm may have torque: whatever ends this process releases it first.
    signal.signal(signal.SIGTERM, end_process)
    with contextlib.ExitStack() as undo:
        if config.is_simulation:
            source = _simulation(config, link, abort, undo, counts_success)
        else:
            source = _robot(config, timing, link, abort, undo, counts_success, on_fault)
        undo.pop_all()
    return source


def _simulation(
    config: HilConfig, link: Link, abort: Abort, undo: contextlib.ExitStack, counts_success: bool
) -> HilSource:
    env = gym_hil_env(config)
    teleop = None if config.env.teleop is None else _made(make_teleoperator_from_config, config.env.teleop)

    def close(failed: bool = False) -> None:
        env.close()
        if teleop is not None:
            release(teleop, "teleoperator")

    undo.callback(close)
    refuse_auto_reset(env)
    processors = _processors(env, None, config)
    if teleop is not None:
        connect(teleop, "env.teleop")
        processors = processors[0], with_teleoperator(processors[1], teleop, config)
    rollout = Rollout(env, processors, Neutral(use_gripper=True), clock=SystemClock(), sleep=abort.sleep, release=close)
    return HilSource(
        rollout,
        GYM_ACTION,
        _first(rollout),
        clock=SystemClock(),
        use_gripper=True,
        counts_success=counts_success,
        log=lambda text: offer(link, text),
    )


def _robot(
    config: HilConfig,
    timing: TimingFlags,
    link: Link,
    abort: Abort,
    undo: contextlib.ExitStack,
    counts_success: bool,
    on_fault: str,
) -> HilSource:
    env_config = config.env
    robot = _made(make_robot_from_config, env_config.robot)
    teleop = _made(make_teleoperator_from_config, env_config.teleop)
    if not hasattr(getattr(robot, "bus", None), "motors"):
        raise UsageError(f"--env.robot.type={env_config.robot.type} found; HIL-SERL moves robots with one motor bus")
    joints = list(robot.bus.motors)
    actor, neutral = _actor(teleop, joints, config)
    proxies, cameras = take_cameras(robot, timing, link)

    guarded = GuardedRobot(robot, link, on_fault)

    def close(failed: bool = False) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guarded.leave(failed=failed)
        release(teleop, "teleoperator")
        cameras.close()

    undo.callback(close)
    cameras.start()
    connect(teleop, "env.teleop")
    connect(robot, "env.robot")
    observed = env_config.processor.observation
    limits = CameraLimits.of(timing)
    sidecar = HeldRobot(
        robot,
        teleop,
        proxies,
        clock=SystemClock(),
        fps=env_config.fps,
        limits=limits,
        reads_current=observed is not None and observed.add_current_to_observation,
        watch=CameraWatch(
            cameras,
            limits.stale_ns,
            now_ns=SystemClock().now_ns,
            sleep=abort.sleep,
            log=lambda text: offer(link, text),
        ),
    )
    # For the first look nothing moves and nothing waits.
    env = gym_manipulator.RobotEnv(robot, use_gripper=config.use_gripper, reset_pose=None, reset_time_s=0)
    processors = _processors(env, actor, config)
    rollout = Rollout(env, processors, neutral, clock=SystemClock(), sleep=abort.sleep, release=close)
    first = _first(rollout)
    if (reset := env_config.processor.reset) is not None:
        env.reset_pose, env.reset_time_s = reset.fixed_reset_joint_positions, reset.reset_time_s
    else:
        env.reset_time_s = _RESET_TIME_S
    return HilSource(
        rollout,
        actor.action_features,
        first,
        clock=SystemClock(),
        use_gripper=config.use_gripper,
        counts_success=counts_success,
        log=lambda text: offer(link, text),
        sidecar=sidecar,
    )


def _processors(env: Any, actor: Any, config: HilConfig) -> Any:
    """The environment's and the action's, by lerobot.

    Raises:
        UsageError: a file that one of them needs is missing or wrong, a package is missing, or there is no such device.
    """
    try:
        return gym_manipulator.make_processors(env, actor, config.env, config.device)
    except Exception as error:
        raise UsageError(f"the processors cannot be made: {one_line(error)}; check env.processor and device") from error


def _actor(teleop: Any, joints: list[str], config: HilConfig) -> tuple[Any, Neutral]:
    """Who acts, as the processors need it, and what is passed on while nobody does.

    Raises:
        UsageError: the teleoperator's action is not what reaches the robot.
    """
    kind, features = config.env.teleop.type, teleop.action_features
    if config.env.processor.inverse_kinematics is not None:
        if not hasattr(teleop, "get_teleop_events"):
            raise UsageError(
                f"--env.teleop.type={kind} found with env.processor.inverse_kinematics; {NO_EVENTS}, or leave that "
                "section away and record joints"
            )
        return teleop, Neutral(use_gripper=config.use_gripper)
    actor = teleop
    if not hasattr(teleop, "get_teleop_events") and all(kind is float for kind in features.values()):
        actor = Leader(teleop)
    if not hasattr(actor, "get_teleop_events"):
        raise UsageError(f"--env.teleop.type={kind} found; {NO_EVENTS}")
    named = list(features) if actor is not teleop else [f"{joint}.pos" for joint in joints]
    shape = tuple(actor.action_features.get("shape", ()))
    if shape != (len(joints),) or named != [f"{joint}.pos" for joint in joints]:
        raise UsageError(
            f"--env.teleop.type={kind} found, whose action has the shape {shape}; without "
            f"env.processor.inverse_kinematics it goes to the robot's {len(joints)} joints: {', '.join(joints)}"
        )
    return actor, Hold(joints)


def _first(rollout: Rollout) -> Any:
    try:
        return rollout.reset()
    except OnbeatError:
        raise
    except Exception as error:
        raise SourceError(f"the environment cannot be reset: {one_line(error)}") from error


def _made(make: Any, config: Any) -> Any:
    try:
        return make(config)
    except (ImportError, ValueError) as error:
        raise UsageError(one_line(error)) from error

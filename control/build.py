"""From flags to what the loop needs: a source, a plan, settings. Runs in the control process."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from control import lerobot_flags
from control.clock import SystemClock
from control.config import RecordConfig
from control.envs import register
from control.episode_rules import EpisodeConfig
from control.gym_make import env_fps, make_env, one_line
from control.gym_source import GymSource
from control.hil_flags import HilRecordConfig
from control.lerobot_flags import RobotRecordConfig
from control.realtime import check_flags
from control.scripted import RandomTeleoperator, ScriptedTeleoperator
from control.session import SessionSettings
from control.session_plan import SessionPlan
from control.source import Source
from control.teleoperator import Teleoperator
from transport.errors import UsageError
from transport.link import Link
from transport.records import EpisodeBegan

if TYPE_CHECKING:
    from control.lerobot_robot import RobotSource
    from control.policy_robot import RobotPilot

_DEFAULT_FPS = 30
_BUILT_IN = "onbeat/"


def build(config: RecordConfig) -> tuple[Source, SessionPlan, SessionSettings]:
    """Make the environment and everything around it.

    Raises:
        UsageError: a flag's value that cannot be; says which and what would do.
    """
    env, fps = environment(config)
    source = GymSource(
        env,
        clock=SystemClock(),
        teleoperator=teleoperator(config, env, fps),
        task=config.dataset.single_task,
        seed=config.env.seed,
    )
    return source, plan_of(config, source, fps), settings_of(config, fps)


def environment(config: RecordConfig) -> tuple[gymnasium.Env[Any, Any], int]:
    """The environment that is asked for, and frames per second.

    Raises:
        UsageError: it cannot be made.
    """
    register()
    _search_current_folder()
    dataset = config.dataset
    if dataset.fps is not None and dataset.fps <= 0:
        raise UsageError(f"--dataset.fps={dataset.fps} found, expected a whole number from 1")
    env = make_env(config.env.id, config.env.kwargs)
    return env, dataset.fps or env_fps(env) or _DEFAULT_FPS


def build_robot(
    config: RobotRecordConfig, argv: Sequence[str], link: Link, pilot: RobotPilot | None = None
) -> tuple[RobotSource, SessionPlan, SessionSettings]:
    """Connect a lerobot robot and its teleoperator, and make everything around them.

    Args:
        argv: lerobot's own flags, `--robot.*` and `--teleop.*`.
        link: to whoever talks to the operator.
        pilot: of a policy that acts.

    Raises:
        UsageError: a flag's value that cannot be, or lerobot is not installed.
        SourceError: a device does not answer.
    """
    fps = config.dataset.fps
    if fps is None or fps <= 0:
        raise UsageError(f"--dataset.fps={fps} found, expected a whole number from 1")
    settings = settings_of(config, fps)
    try:
        from control.lerobot_build import build_source
    except ImportError as error:
        raise lerobot_flags.missing(error) from error
    source = build_source(
        argv,
        config.timing,
        fps,
        link,
        settings.abort,
        config.robot.on_fault,
        pilot,
        config.teleop.proxy,
        processors=config.processors,
    )
    try:
        return source, plan_of(config, source, fps), settings
    except BaseException:
        source.close()
        raise


def build_hil(config: HilRecordConfig, argv: Sequence[str], link: Link) -> tuple[Source, SessionPlan, SessionSettings]:
    """Make what a gym_manipulator configuration of lerobot's describes, and everything around it.

    Args:
        argv: for lerobot's parser, `--config_path` first.
        link: to whoever talks to the operator.

    Raises:
        UsageError: a configuration that cannot be, or a package that is missing.
        SourceError: a device does not answer.
    """
    _search_current_folder()
    try:
        from control import hil_build, hil_config
    except ImportError as error:
        raise UsageError(
            f"HIL-SERL's configuration needs lerobot: {one_line(error)}; install onbeat with its extras, as in "
            "pip install 'onbeat[lerobot,arms,hil]'"
        ) from error
    parsed = hil_config.parse(argv)
    fps, episode = parsed.env.fps, config.episode
    settings = settings_of(config, fps)
    for note in parsed.notes:
        link.offer({"log": note})
    config.dataset.episode_time_s = min(
        config.dataset.episode_time_s, math.inf if parsed.max_ticks is None else parsed.max_ticks / fps
    )
    counts_success = episode.number_of_steps_after_success > 0 or parsed.terminates_on_success
    if episode.number_of_steps_after_success > 0 and episode.success_reward is None:
        episode.success_reward = parsed.success_reward
    source = hil_build.build_source(
        parsed, config.timing, link, settings.abort, counts_success=counts_success, on_fault=config.robot.on_fault
    )
    try:
        return source, plan_of(config, source, fps), settings
    except BaseException:
        source.close()
        raise


def plan_of(config: RecordConfig, source: Source, fps: int) -> SessionPlan:
    """Seconds become ticks here and nowhere else."""
    dataset = config.dataset
    if dataset.num_episodes < 1:
        raise UsageError(f"--dataset.num_episodes={dataset.num_episodes} found, expected at least 1")
    if dataset.episode_time_s <= 0 or dataset.reset_time_s < 0:
        raise UsageError(
            f"--dataset.episode_time_s={dataset.episode_time_s:g} and --dataset.reset_time_s="
            f"{dataset.reset_time_s:g} found, expected a positive number and one from 0"
        )
    tasks = read_tasks(dataset.tasks_file)
    for task in (dataset.single_task, *tasks):
        EpisodeBegan(0, task).pack()  # a task that is too long is refused here, not in the first episode
    episode = EpisodeConfig(
        max_ticks=None if math.isinf(dataset.episode_time_s) else max(round(dataset.episode_time_s * fps), 1),
        steps_after_success=config.episode.number_of_steps_after_success,
        success_reward=config.episode.success_reward,
        may_step_after_end=source.may_step_after_end,
    )
    return SessionPlan(
        dataset.single_task,
        dataset.num_episodes,
        episode,
        round(dataset.reset_time_s * fps),
        tasks,
        start_by_key=config.session.start == "key",
        ask_task=config.session.ask_task,
        review_last=config.session.review_last,
    )


def read_tasks(path: str | None) -> tuple[str, ...]:
    """The lines of `--dataset.tasks_file` that say something.

    Raises:
        UsageError: it cannot be read, or says nothing.
    """
    if path is None:
        return ()
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--dataset.tasks_file={path} cannot be read: {why}") from error
    tasks = tuple(task for line in lines if (task := line.strip()))
    if not tasks:
        raise UsageError(f"--dataset.tasks_file={path} is empty, expected a task a line")
    return tasks


def settings_of(config: RecordConfig, fps: int, *, paced: bool = True) -> SessionSettings:
    check_flags(config.timing)
    if config.publisher.ring_s <= 0:
        raise UsageError(f"--publisher.ring_s={config.publisher.ring_s:g} found, expected a positive number of seconds")
    return SessionSettings(fps, paced, config.publisher.ring_s, config.timing)


def _search_current_folder() -> None:
    """ "module:Env-v0", "module:Class" and lerobot's plugins may lie in the current folder; it is searched last."""
    if "" not in sys.path:
        sys.path.append("")


def teleoperator(config: RecordConfig, env: gymnasium.Env[Any, Any], fps: int) -> Teleoperator | None:
    """Who acts; None leaves it to the policy or to the environment.

    Raises:
        UsageError: there is no such teleoperator, or it does not take these arguments.
    """
    kind, kwargs = config.teleop.type, config.teleop.kwargs
    if kind == "auto" and config.policy.path is not None:
        kind = "none"
    if kind == "auto":
        kind = "scripted" if config.env.id.startswith(_BUILT_IN) else "random"
    if kind == "none":
        return None
    if kind == "scripted":
        return _call(ScriptedTeleoperator, {"fps": fps, **kwargs})
    if kind == "random":
        return _call(RandomTeleoperator, {"action_space": env.action_space, **kwargs})
    module, _, name = kind.partition(":")
    if not name:
        raise UsageError(f"--teleop.type={kind} found, expected auto, scripted, random, none or module:Class")
    try:
        made: Callable[..., Teleoperator] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--teleop.type={kind}: {one_line(error)}; check the module's name and path") from error
    return _call(made, kwargs)


def _call(make: Callable[..., Teleoperator], kwargs: dict[str, Any]) -> Teleoperator:
    try:
        inspect.signature(make).bind(**kwargs)
        return make(**kwargs)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--teleop.kwargs: {one_line(error)}") from error

"""`onbeat record --config_path=env_config.json`: HIL-SERL's configuration beside onbeat's own flags.

Imports no lerobot: the supervisor needs none. Only the `dataset` section of the file is read here; the whole file goes
to the control process, where lerobot's own classes parse it together with the flags that are lerobot's
(`--env.*`, `--mode`, `--device`, `--*.discover_packages_path`). Flags of onbeat's come after the file's and win.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from control.config import DatasetFlags, EpisodeFlags, RecordConfig
from control.guarded import OwnRobotFlags
from transport import flags
from transport.errors import UsageError

_CONFIG_PATH = "config_path"
_PLUGINS = "discover_packages_path"
_THEIRS = ("env", "mode", "device")
# Names of HIL-SERL's dataset section that are lerobot-record's under another name.
_RENAMED = {"task": "single_task", "num_episodes_to_record": "num_episodes"}
_TAKEN = ("repo_id", "root", "push_to_hub", *_RENAMED)
# In an `env` section, these make it a gym_manipulator's and not a gymnasium environment's of onbeat's own.
_MARKS = ("robot", "teleop", "processor", "name", "task")


@dataclass
class HilDatasetFlags(DatasetFlags):
    # Name of the dataset, owner/name; default: the file's.
    repo_id: str = ""
    # What is done, in words; default: the file's task.
    single_task: str = ""
    # Frames per second; default: the file's env.fps.
    fps: int | None = None
    # Seconds of an episode at most; default: env.processor.reset.control_time_s, no limit without that section.
    episode_time_s: float = math.inf
    # Seconds between two episodes in which nothing is recorded and nothing moves, before the environment's own reset.
    reset_time_s: float = 0
    # Episodes to keep; default: the file's num_episodes_to_record.
    num_episodes: int = 5
    # Upload to the Hub when the session is over; default: what the file says.
    push_to_hub: bool = False
    # Leave repo_id without a time stamp, as HIL-SERL's recorder does.
    no_stamp: bool = True


@dataclass
class HilEpisodeFlags(EpisodeFlags):
    # Rows with reward 1.0 that an episode gets once success is detected, the detecting one included; the default, 0,
    # leaves it to env.processor.reset.terminate_on_success.
    number_of_steps_after_success: int = 0


@dataclass
class HilRecordConfig(RecordConfig):
    # The dataset; what the file says is the default.
    dataset: HilDatasetFlags = field(default_factory=HilDatasetFlags)
    # When an episode is a success.
    episode: HilEpisodeFlags = field(default_factory=HilEpisodeFlags)
    # Beside what the file says of the robot.
    robot: OwnRobotFlags = field(default_factory=OwnRobotFlags)


def is_hil(argv: Sequence[str]) -> bool:
    """Whether `--config_path` names a configuration of lerobot's gym_manipulator.

    A file that cannot be read is left to whoever parses it and can say so.
    """
    path = _config_path(argv)
    if path is None:
        return False
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    env = content.get("env") if isinstance(content, Mapping) else None
    return isinstance(env, Mapping) and any(mark in env for mark in _MARKS)


def parse(argv: Sequence[str]) -> tuple[HilRecordConfig, list[str]]:
    """Read onbeat's own flags and the file's dataset section.

    Returns:
        The configuration, and the flags for lerobot's parser, `--config_path` first.

    Raises:
        UsageError: a flag that is unknown, or a value that cannot be.
    """
    theirs, ours = _split(argv)
    path = Path(theirs[0].partition("=")[2]).absolute()
    theirs[0] = f"--{_CONFIG_PATH}={path}"
    config = flags.parse(
        HilRecordConfig,
        [*_from_file(path), *ours],
        prog=f"onbeat record --{_CONFIG_PATH}=...",
        about="record with a configuration of lerobot's gym_manipulator (HIL-SERL); --env.*, --mode and --device are "
        "that file's",
    )
    config.robot.check()
    if not config.dataset.repo_id:
        raise UsageError(f"no dataset.repo_id found in {path}, expected owner/name; or pass --dataset.repo_id")
    if config.policy.path is not None:
        raise UsageError(
            "--policy.path found with HIL-SERL's configuration, which demonstrations alone are recorded with"
        )
    if config.dataset.fps is not None:
        # lerobot's steps count with it too: the time limit and the velocities of joints.
        theirs.append(f"--env.fps={config.dataset.fps}")
    return config, theirs


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """lerobot's flags, `--config_path=...` first, and onbeat's own."""
    theirs, ours = [f"--{_CONFIG_PATH}={_config_path(argv)}"], list[str]()
    into = ours
    for token in argv:
        if token.startswith("--"):
            name, equals, value = token[2:].partition("=")
            section, _, key = name.partition(".")
            if section == "teleop" and not name.endswith(_PLUGINS):
                raise UsageError(f"--{name} found; the teleoperator of this configuration is --env.{name}")
            if name == _CONFIG_PATH:
                into = []
                continue
            if section == "dataset" and key in _RENAMED:
                token = f"--dataset.{_RENAMED[key]}{equals}{value}"
            is_theirs = section in _THEIRS or name.endswith(_PLUGINS) or name == "dataset.replay_episode"
            into = theirs if is_theirs else ours
        # A value that stands apart goes with its flag.
        into.append(token)
    return theirs, ours


def _from_file(path: Path) -> list[str]:
    """What the file says about the dataset, as flags. What else it says there is for lerobot's parser to judge."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    section = content.get("dataset")
    if not isinstance(section, Mapping):
        raise UsageError(f"no dataset section found in {path}, expected one with repo_id and task")
    given: dict[str, Any] = {key: section[key] for key in _TAKEN if section.get(key) is not None}
    # Text is quoted, because command lines are read as YAML: a task may have a colon in it.
    return [f"--dataset.{_RENAMED.get(key, key)}={json.dumps(value)}" for key, value in given.items()]


def _config_path(argv: Sequence[str]) -> str | None:
    found = None
    for index, token in enumerate(argv):
        if token == f"--{_CONFIG_PATH}" and index + 1 < len(argv):
            found = argv[index + 1]
        elif token.startswith(f"--{_CONFIG_PATH}="):
            found = token.partition("=")[2]
    return found

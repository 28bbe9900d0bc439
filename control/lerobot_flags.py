"""lerobot-record's command line as `onbeat record` takes it: which flags are the robot's, and what the others mean.

Imports no lerobot: the supervisor needs none. `--robot.*` and `--teleop.*` go to the control process as they are, where
lerobot's own classes parse them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from control.config import DatasetFlags, RecordConfig
from control.guarded import OwnRobotFlags
from transport import flags
from transport.errors import UsageError

_SECTIONS = ("robot", "teleop")
_PLUGINS = "discover_packages_path"
# Flags of ours among lerobot's sections.
_OWN = ("robot.on_fault", "teleop.proxy")
_IGNORED = "ignored"


# Metadata of lerobot-record's flags that mean nothing here; their default None shows that they were not given.
_NO_IMAGE_FILES = {_IGNORED: "no picture is written to a file of its own"}
_OWN_WRITER = {_IGNORED: "encoding runs beside the recording, in the writer, always"}


@dataclass
class RobotDatasetFlags(DatasetFlags):
    # Name of the dataset, owner/name; a time stamp is added unless --dataset.no_stamp.
    repo_id: str = ""
    # What is done, in words, for example "Pick the cube and lift it".
    single_task: str = ""
    # Frames per second.
    fps: int | None = 30
    # Seconds between two episodes in which nothing is recorded; the robot follows its teleoperator.
    reset_time_s: float = 60
    # Episodes to keep.
    num_episodes: int = 50
    # Cameras become video files; false, one PNG a picture, is refused.
    video: bool | None = None
    # Ignored: no picture is written to a file of its own.
    num_image_writer_processes: int | None = field(default=None, metadata=_NO_IMAGE_FILES)
    # Ignored: no picture is written to a file of its own.
    num_image_writer_threads_per_camera: int | None = field(default=None, metadata=_NO_IMAGE_FILES)
    # Ignored: encoding runs beside the recording, in the writer, always.
    video_encoding_batch_size: int | None = field(default=None, metadata=_OWN_WRITER)
    # Ignored: encoding runs beside the recording, in the writer, always.
    streaming_encoding: bool | None = field(default=None, metadata=_OWN_WRITER)
    # Ignored: encoding runs beside the recording, in the writer, always.
    encoder_queue_maxsize: int | None = field(default=None, metadata=_OWN_WRITER)


@dataclass
class RobotRecordConfig(RecordConfig):
    # Beside lerobot's own --robot.* flags.
    robot: OwnRobotFlags = field(default_factory=OwnRobotFlags)
    # The dataset, with the names and defaults of lerobot-record.
    dataset: RobotDatasetFlags = field(default_factory=RobotDatasetFlags)
    # Function that returns lerobot-record's three processor pipelines, as lerobot.processor.make_default_processors
    # does: "module:function".
    processors: str | None = None


def has_robot(argv: Sequence[str]) -> bool:
    """Whether a lerobot robot is asked for."""
    return any(_section(token) == "robot" for token in argv)


def without_own(argv: Sequence[str]) -> list[str]:
    """What `split` says is the rest, without onbeat's own flags among lerobot's sections, and their values."""
    kept: list[str] = []
    keep = True
    for token in argv:
        if token.startswith("--"):
            keep = token[2:].partition("=")[0] not in _OWN
        if keep:
            kept.append(token)
    return kept


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of robot and teleoperator, and the rest.

    Raises:
        UsageError: flags of a gymnasium environment beside a robot's.
    """
    ours: list[str] = []
    theirs: list[str] = []
    into = ours
    for token in argv:
        if token.startswith("--"):
            name = token[2:].partition("=")[0]
            if _section(token) == "env":
                raise UsageError(f"--{name} and --robot.* found together; record an environment or a robot")
            lerobots = _section(token) in _SECTIONS or name.endswith(_PLUGINS)
            into = theirs if lerobots and name not in _OWN else ours
        # A value that stands apart goes with its flag.
        into.append(token)
    return theirs, ours


def parse(argv: Sequence[str]) -> RobotRecordConfig:
    """Read the flags that are not the robot's, and say which of them mean nothing here.

    Raises:
        UsageError: a flag that is unknown, or a value that cannot be.
    """
    about = "record a lerobot robot; --robot.* and --teleop.* are lerobot-record's own, see lerobot-record --help"
    config = flags.parse(RobotRecordConfig, argv, prog="onbeat record --robot.type=...", about=about)
    dataset = config.dataset
    if not dataset.repo_id:
        raise UsageError("no --dataset.repo_id found, expected owner/name")
    if dataset.video is False:
        raise UsageError("--dataset.video=false found; onbeat stores cameras as video only, leave it away")
    config.robot.check()
    for line in ignored(config):
        print(line)
    return config


def missing(error: ImportError) -> UsageError:
    """What to say when lerobot, or a part of it, is not installed."""
    text = " ".join(f"{error}".split())
    return UsageError(
        f"--robot.* needs lerobot: {text}; install onbeat with its extras, as in pip install 'onbeat[lerobot,arms]'"
    )


def ignored(config: Any, prefix: str = "") -> list[str]:
    """One line for each flag that was given and means nothing here."""
    lines = []
    for each in fields(config):
        value, name = getattr(config, each.name), f"{prefix}{each.name}"
        if hasattr(value, "__dataclass_fields__"):
            lines += ignored(value, f"{name}.")
        elif _IGNORED in each.metadata and value is not None:
            lines.append(f"--{name} is ignored: {each.metadata[_IGNORED]}")
    return lines


def _section(token: str) -> str:
    return token[2:].partition("=")[0].partition(".")[0] if token.startswith("--") else ""

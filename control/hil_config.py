"""lerobot's gym_manipulator configuration, parsed by its own classes and judged before anything moves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from lerobot.configs.parser import PluginLoadError, filter_arg, load_plugin, parse_plugin_args
from lerobot.rl.gym_manipulator import GymManipulatorConfig
from lerobot.scripts import lerobot_record
from lerobot.utils.import_utils import register_third_party_plugins

from control.lerobot_device import one_line
from transport import flags
from transport.errors import UsageError

# Importing it registers every robot, teleoperator and camera that lerobot-record knows.
_REGISTERED = lerobot_record.RecordConfig
_PLUGINS = "discover_packages_path"
# lerobot's documentation has it in the file, lerobot's parser refuses it there.
_TYPE = "gym_manipulator"


@dataclass(frozen=True, slots=True)
class HilConfig:
    """The parsed configuration.

    Attributes:
        env: lerobot's `HILSerlRobotEnvConfig`.
        device: where the processors' tensors are.
        notes: lines for the operator on what is set and means nothing here.
    """

    env: Any
    device: str
    notes: tuple[str, ...]

    @property
    def is_simulation(self) -> bool:
        return bool(self.env.name == "gym_hil")

    @property
    def use_gripper(self) -> bool:
        """As `control_loop` understands it."""
        gripper = self.env.processor.gripper
        return True if gripper is None else bool(gripper.use_gripper)

    @property
    def terminates_on_success(self) -> bool:
        reset = self.env.processor.reset
        return True if reset is None else bool(reset.terminate_on_success)

    @property
    def success_reward(self) -> float:
        """What the reward of a success is: the classifier's, or 1.0."""
        classifier = self.env.processor.reward_classifier
        return 1.0 if classifier is None else float(classifier.success_reward)

    @property
    def max_ticks(self) -> int | None:
        """Rows of an episode at most, as lerobot's time limit makes them: it counts the reset as a step."""
        reset = self.env.processor.reset
        return None if reset is None else max(int(reset.control_time_s * self.env.fps) - 1, 1)


def parse(argv: Sequence[str]) -> HilConfig:
    """Read the file and the flags.

    Args:
        argv: `--config_path=FILE` first, then lerobot's flags.

    Raises:
        UsageError: something that lerobot does not know, or that cannot be recorded.
    """
    parsed = read(argv)
    _check(parsed)
    shows = parsed.env.processor.observation is not None and parsed.env.processor.observation.display_cameras
    note = "env.processor.observation.display_cameras is ignored: --display_data=true shows them"
    return HilConfig(parsed.env, parsed.device, (note,) if shows else ())


def read(argv: Sequence[str]) -> Any:
    """lerobot's own `GymManipulatorConfig`, third-party plugins included.

    Raises:
        UsageError: something that lerobot does not know.
    """
    register_third_party_plugins()
    rest = list(argv)
    path = Path(rest.pop(0).partition("=")[2])
    try:
        for flag, package in parse_plugin_args(_PLUGINS, rest).items():
            load_plugin(package)
            rest = filter_arg(flag, rest)
    except (PluginLoadError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content["env"].get("type") == _TYPE:
        del content["env"]["type"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as cleaned:
        yaml.safe_dump(content, cleaned)
        cleaned.flush()
        try:
            return flags.parse(
                GymManipulatorConfig, [f"--config_path={cleaned.name}", *rest], prog="onbeat record", about=""
            )
        except (UsageError, ValueError) as error:
            # A configuration class says why it refuses a value at the bottom of draccus's chain.
            cause: BaseException = error
            while type(cause) is not ValueError and cause.__cause__ is not None:
                cause = cause.__cause__
            said = cause if type(cause) is ValueError else error
            raise UsageError(f"{path}: {one_line(said)}") from error


def _check(parsed: Any) -> None:
    env = parsed.env
    if parsed.mode != "record":
        raise UsageError(
            f"mode {parsed.mode!r} found, expected record; set it in the file or pass --mode=record (replay and mere "
            "control are lerobot's: python -m lerobot.rl.gym_manipulator)"
        )
    if env.fps < 1:
        raise UsageError(f"env.fps {env.fps} found, expected a whole number from 1")
    if env.name == "gym_hil":
        if env.robot is not None:
            raise UsageError("env.robot found with env.name gym_hil, which simulates one; leave it away")
        if not env.task:
            raise UsageError("no env.task found, expected one of gym_hil's, as PandaPickCubeKeyboard-v0")
        if env.processor.gripper is not None and not env.processor.gripper.use_gripper:
            raise UsageError(
                "env.processor.gripper.use_gripper: false found with gym_hil, whose action and lerobot's column for it "
                "have a gripper always; set it to true"
            )
        return
    for section in ("robot", "teleop"):
        if getattr(env, section) is None:
            raise UsageError(f"no env.{section} found, expected one, or env.name gym_hil")
    if env.processor.inverse_kinematics is not None and find_spec("placo") is None:
        raise UsageError(
            "env.processor.inverse_kinematics needs placo, which is missing; pip install 'lerobot[kinematics]', or "
            "record joints with a leader arm and without that section"
        )

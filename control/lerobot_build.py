"""From lerobot's own flags to a robot that is connected and ready to be recorded. Runs in the control process."""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]
from lerobot.configs.parser import PluginLoadError, filter_arg, load_plugin, parse_plugin_args
from lerobot.datasets import aggregate_pipeline_dataset_features, create_initial_features
from lerobot.robots import RobotConfig, make_robot_from_config
from lerobot.scripts import lerobot_record
from lerobot.teleoperators import TeleoperatorConfig, make_teleoperator_from_config
from lerobot.utils.constants import ACTION
from lerobot.utils.feature_utils import combine_feature_dicts
from lerobot.utils.import_utils import register_third_party_plugins

from control import config_file
from control.abort import Abort
from control.affinity import others_cpus
from control.camera_rate import complaint, slow_cameras
from control.camera_watch import CameraWatch
from control.clock import SystemClock
from control.config import TimingFlags
from control.errors import SourceError
from control.lerobot_account import CameraLimits
from control.lerobot_cameras import take_cameras
from control.lerobot_device import no_prompts, one_line, release
from control.lerobot_guard import GuardedRobot
from control.lerobot_pipelines import make_pipelines
from control.lerobot_robot import RobotSource, streams_of
from control.policy_robot import RobotPilot
from control.teleop_proxy import TeleopProxy, in_process
from control.teleop_values import decode
from transport import flags
from transport.errors import OnbeatError, UsageError
from transport.link import Link

# Importing it registers every robot, teleoperator and camera that lerobot-record knows.
_REGISTERED = lerobot_record.RecordConfig
_PLUGINS = "discover_packages_path"


@dataclass
class RobotFlags:
    """The part of lerobot-record's configuration that is lerobot's own affair."""

    robot: RobotConfig
    teleop: TeleoperatorConfig | None = None


def build_source(
    argv: Sequence[str],
    timing: TimingFlags,
    fps: int,
    link: Link,
    abort: Abort,
    on_fault: str,
    pilot: RobotPilot | None = None,
    proxy: str = "auto",
    *,
    processors: str | None = None,
) -> RobotSource:
    """Connect teleoperator and robot, in this order, as lerobot-record does.

    Args:
        argv: the flags `--robot.*` and `--teleop.*`.
        link: to whoever talks to the operator.
        abort: ends the session also while cameras are waited for.
        on_fault: how the robot is left when the session does not end in order: `release` or `hold`.
        pilot: of a policy that acts; it is loaded before anything is connected.
        proxy: whether the teleoperator runs in a process of its own, see `control.teleop_proxy.in_process`.
        processors: "module:function" that makes the three pipelines; None for lerobot-record's own.

    Raises:
        UsageError: flags that cannot be, a device that is not calibrated, a driver that is not installed, a camera that
            is too slow.
        SourceError: a device does not answer.
    """
    pipelines = make_pipelines(processors)
    parsed = parse(argv, needs_teleop=pilot is None)
    try:
        robot = make_robot_from_config(parsed.robot)
        teleop = _teleoperator(parsed, argv, timing, fps, proxy, events=pilot is not None)
    except (ImportError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    proxies, cameras = take_cameras(robot, timing, link)

    guarded = GuardedRobot(robot, link, on_fault)

    def close(failed: bool = False) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        guarded.leave(failed=failed)
        if teleop is not None:
            release(teleop, "teleoperator")
        cameras.close()

    # From here on an arm may have torque: whatever ends this process releases it first.
    signal.signal(signal.SIGTERM, end_process)
    with contextlib.ExitStack() as undo:
        undo.callback(close)
        cameras.start()
        features = combine_feature_dicts(
            aggregate_pipeline_dataset_features(
                pipeline=pipelines.teleop_action, initial_features=create_initial_features(action=robot.action_features)
            ),
            aggregate_pipeline_dataset_features(
                pipeline=pipelines.observation,
                initial_features=create_initial_features(observation=robot.observation_features),
            ),
        )
        driver: Any = teleop
        if pilot is not None:
            pilot.load(streams_of(features), robot.name)
            driver = pilot.driver(teleop, features[ACTION]["names"], pipelines.teleop_action)
            pipelines = replace(pipelines, teleop_action=driver.process, look_at_pictures=True)
        if teleop is not None:
            connect(teleop, "teleop")
        connect(robot, "robot")
        if not timing.allow_slow_cameras and (slow := slow_cameras(cameras.memories, fps, SystemClock())):
            raise UsageError(complaint(slow, fps))
        limits = CameraLimits.of(timing)
        source = RobotSource(
            robot,
            driver,
            features,
            pipelines,
            proxies,
            clock=SystemClock(),
            fps=fps,
            limits=limits,
            watch=CameraWatch(
                cameras,
                limits.stale_ns,
                now_ns=SystemClock().now_ns,
                sleep=abort.sleep,
                log=lambda text: offer(link, text),
            ),
            log=lambda text: offer(link, text),
            release=close,
        )
        undo.pop_all()
    return source


def _teleoperator(
    parsed: RobotFlags, argv: Sequence[str], timing: TimingFlags, fps: int, proxy: str, *, events: bool
) -> Any:
    config = parsed.teleop
    if config is None:
        return None
    if not in_process(config.type, proxy, parsed.robot.type):
        return make_teleoperator_from_config(config)
    cpus = others_cpus(timing)
    return TeleopProxy(argv, fps, None if cpus is None else sorted(cpus), decode, SystemClock().now_ns, events=events)


def parse(argv: Sequence[str], *, needs_teleop: bool = True) -> RobotFlags:
    """Read the flags with lerobot's own classes, third-party plugins included.

    Args:
        needs_teleop: whether nobody else moves the robot.

    Raises:
        UsageError: a flag that lerobot does not know, or a value that it does not take; or no teleoperator.
    """
    register_third_party_plugins()
    from_file, rest = config_file.devices(argv)
    try:
        for flag, package in parse_plugin_args(_PLUGINS, rest).items():
            load_plugin(package)
            rest = filter_arg(flag, rest)
        with _as_file(from_file) as where:
            parsed = flags.parse(RobotFlags, [*where, *rest], prog="onbeat record", about="")
    except (PluginLoadError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    except UsageError as error:
        # A configuration class says why it refuses a value at the bottom of draccus's chain.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if type(cause) is not ValueError:
            raise
        raise UsageError(f"{one_line(cause)}; see onbeat record --help") from error
    if parsed.teleop is None and needs_teleop:
        raise UsageError(
            "--robot.* found without --teleop.type and --policy.path; a robot is recorded while somebody moves it"
        )
    return parsed


@contextlib.contextmanager
def _as_file(content: Mapping[str, Any]) -> Iterator[list[str]]:
    """The flag that makes draccus read this before the other flags; none where there is nothing."""
    if not content:
        yield []
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(content), file)
        file.flush()
        yield [f"--config_path={file.name}"]


def make_devices(argv: Sequence[str], *, needs_teleop: bool = True) -> dict[str, Any]:
    """Robot and, if there is one, teleoperator, under the names of their flags; not connected.

    Raises:
        UsageError: as `parse`, or a driver is not installed.
    """
    parsed = parse(argv, needs_teleop=needs_teleop)
    try:
        devices = {"robot": make_robot_from_config(parsed.robot)}
        if parsed.teleop is not None:
            devices["teleop"] = make_teleoperator_from_config(parsed.teleop)
    except (ImportError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    return devices


def connect(device: Any, section: str) -> None:
    """Connect a robot or teleoperator whose flags are `--{section}.*`.

    Raises:
        UncalibratedError: it is not calibrated.
        SourceError: it does not answer.
    """
    if isinstance(device, TeleopProxy):
        device.connect()
        return
    try:
        with no_prompts(device, section):
            device.connect()
    except OnbeatError:
        raise
    except Exception as error:
        raise SourceError(
            f"{device} cannot be connected: {one_line(error)}; check --{section}.*, cable and power"
        ) from error


def offer(link: Link, text: str) -> None:
    """One line for the operator, if whoever talks to the operator listens."""
    link.offer({"log": text})


def end_process(number: int, frame: FrameType | None) -> NoReturn:
    """What SIGTERM does before the loop: ends the process in order, so that what is undone at its end is undone."""
    raise SystemExit(1)

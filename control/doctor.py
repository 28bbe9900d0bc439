"""`onbeat doctor`: what this machine grants and sustains, and whether a load can be recorded on it.

Measures for half a minute; nothing that it writes stays. With --robot.* and --teleop.*, as onbeat record takes them,
the robot's own cameras and buses are measured too, and are the load; nothing moves. Exit code: 0 the load can be
recorded, 1 it cannot.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from control import lerobot_flags
from control.clock import SystemClock
from control.config import PublisherFlags, TimingFlags
from control.doctor_figures import Diagnosis, LinkProbe, Load, WriterSide
from control.doctor_findings import examine
from control.doctor_floor import measure_floor
from control.doctor_link import probe_link
from control.doctor_machine import Machine
from control.doctor_report import show
from control.doctor_robot import probe_robot
from control.doctor_verdict import judge
from control.doctor_writer import measure_writer_side
from control.naming import lerobot_home
from control.realtime import check_flags
from control.robot_side import RobotSide
from transport import flags
from transport.dataset_spec import EncoderSpec
from transport.errors import UsageError
from transport.keys import load_recorder


@dataclass
class DoctorWriterFlags:
    # Address of a writer started with `onbeat writer`, for example tcp://192.0.2.7:5757; default: one would run here.
    address: str | None = None
    # This recorder's key file, made on the writer's machine with `onbeat keys`; default: none.
    keys: str | None = None
    # Gigabytes that must stay free on the writer's disk; below it a session ends.
    min_free_gb: float = 0.5


@dataclass
class DoctorDatasetFlags:
    # How camera pictures would be encoded.
    rgb_encoder: EncoderSpec = field(default_factory=EncoderSpec)
    # Threads for each encoder; default: the codec's own choice.
    encoder_threads: int | None = None


@dataclass
class DoctorConfig:
    # Cameras of the wanted load.
    cameras: int = 2
    # Width of their pictures in pixels.
    width: int = 640
    # Height of their pictures in pixels.
    height: int = 480
    # Frames per second.
    fps: int = 30
    # Folder where the dataset would go; it need not exist. Default: lerobot's.
    root: str | None = None
    # Seconds of each run of the wake-up floor, of the disk's and of the robot's; 5 are enough for a p99.9.
    seconds: float = 5.0
    # File for everything found, as JSON.
    json: str | None = None
    # The dataset.
    dataset: DoctorDatasetFlags = field(default_factory=DoctorDatasetFlags)
    # How the loop would keep time.
    timing: TimingFlags = field(default_factory=TimingFlags)
    # The log between control and writer.
    publisher: PublisherFlags = field(default_factory=PublisherFlags)
    # The other side.
    writer: DoctorWriterFlags = field(default_factory=DoctorWriterFlags)
    # Show tracebacks.
    debug: bool = False


# How long to look at what other programs do.
_LOOK_S = 1.0
# Each encoder runs at full speed for this long, as at the start of a session.
_CODEC_S = 0.8


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    robot: list[str] = []
    try:
        if lerobot_flags.has_robot(argv):
            robot, argv = lerobot_flags.split(argv)
            # So that a line of `onbeat record` can be copied: these say nothing about the machine.
            argv = lerobot_flags.without_own(argv)
        config = flags.parse(DoctorConfig, argv, prog="onbeat doctor", about=__doc__)
    except UsageError as error:
        return flags.fail(error)
    return flags.report(lambda: _run(config, robot), debug=config.debug)


def _run(config: DoctorConfig, robot: Sequence[str]) -> int:
    _check(config)
    console = Console(highlight=False)
    with console.status("looking around") as status:

        def progress(what: str) -> None:
            status.update(f"measuring: {what}")

        diagnosis = diagnose(config, progress, robot)
    show(diagnosis, console)
    if config.json is not None:
        Path(config.json).write_text(json.dumps(asdict(diagnosis), indent=1) + "\n", encoding="utf-8")
    return 0 if diagnosis.verdict.sustainable else 1


def diagnose(config: DoctorConfig, progress: Callable[[str], None], robot: Sequence[str] = ()) -> Diagnosis:
    """Measure everything, one thing after the other so that nothing disturbs anything else.

    Args:
        robot: the flags `--robot.*` and `--teleop.*`; empty: there is none.

    Raises:
        UsageError: an address or key that cannot be.
        OnbeatError: a measurement that failed although nothing forbids it.
    """
    side = _robot(config, robot, progress) if robot else None
    pictures = (config.cameras, config.width, config.height) if side is None else side.pictures
    load = Load(*pictures, config.fps)
    machine = Machine()
    available_bytes = machine.available_bytes()
    before = machine.read("/proc/stat")
    time.sleep(_LOOK_S)
    others = machine.busy_processors(before, machine.read("/proc/stat"))
    link = _link(config, progress)
    before = machine.read("/proc/stat")
    floor = measure_floor(config.seconds, config.timing, progress)
    stolen = machine.stolen_fraction(before, machine.read("/proc/stat"))
    here = link is None or link.same_machine
    writer = measure_writer_side(_wanted(config, load), progress) if here else WriterSide(elsewhere=True)
    findings = examine(machine, load, floor.protections, ring_s=config.publisher.ring_s, stolen=stolen, others=others)
    verdict = judge(
        load,
        findings,
        floor,
        writer,
        link,
        available_bytes=available_bytes,
        ring_s=config.publisher.ring_s,
        min_free_bytes=int(config.writer.min_free_gb * 1e9),
        robot=side,
    )
    return Diagnosis(load, findings, floor, writer, link, verdict, side)


def _robot(config: DoctorConfig, argv: Sequence[str], progress: Callable[[str], None]) -> RobotSide:
    progress("the robot's cameras and buses")
    try:
        return probe_robot(argv, config.timing, config.fps, config.seconds, SystemClock())
    except ImportError as error:
        raise lerobot_flags.missing(error) from error


def _link(config: DoctorConfig, progress: Callable[[str], None]) -> LinkProbe | None:
    if config.writer.address is None:
        return None
    progress("the way to the writer")
    keys = None if config.writer.keys is None else load_recorder(Path(config.writer.keys).expanduser())
    return probe_link(config.writer.address, keys)


def _wanted(config: DoctorConfig, load: Load) -> dict[str, Any]:
    """What the writer's side is measured with."""
    return {
        "load": [load.cameras, load.width, load.height, load.fps],
        "rgb_encoder": asdict(config.dataset.rgb_encoder),
        "encoder_threads": config.dataset.encoder_threads,
        "folder": str(Path(config.root).expanduser() if config.root else lerobot_home()),
        "codec_s": _CODEC_S,
        "disk_s": config.seconds,
    }


def _check(config: DoctorConfig) -> None:
    if config.cameras < 0 or config.width < 1 or config.height < 1 or not 1 <= config.fps <= 1000:
        raise UsageError(
            f"--cameras={config.cameras} --width={config.width} --height={config.height} --fps={config.fps} found, "
            "expected at least 0 cameras, sizes from 1 pixel and 1 to 1000 frames per second"
        )
    if config.seconds <= 0 or config.publisher.ring_s <= 0:
        raise UsageError(
            f"--seconds={config.seconds:g} --publisher.ring_s={config.publisher.ring_s:g} found, expected more than 0"
        )
    check_flags(config.timing)

"""A robot's cameras and buses under the doctor: pictures delivered, reads answered, nothing moved.

Only the serial ports are opened: no torque is switched, no calibration asked for, no register written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from control.camera_rate import measure_rates
from control.clock import Clock
from control.config import TimingFlags
from control.errors import SourceError
from control.robot_side import BusRate, RobotSide
from transport.link import Link

_POSITION = "Present_Position"
# As in a recording, a read that takes longer counts as failed.
_TICK_PART = 4
_NO_WAIT_S = 0.001


@dataclass
class _Reads:
    """One bus, asked for its positions once a tick."""

    name: str
    bus: Any
    clock: Clock
    limit_ns: int

    def __post_init__(self) -> None:
        self.took_ns: list[int] = []
        self.failures = self.slow = 0
        self.last_error = ""

    def read(self) -> None:
        began_ns = self.clock.now_ns()
        try:
            self.bus.sync_read(_POSITION, normalize=False)
        except OSError as error:
            self.failures += 1
            self.last_error = " ".join(f"{error}".split())
            return
        took_ns = self.clock.now_ns() - began_ns
        self.took_ns.append(took_ns)
        self.slow += took_ns > self.limit_ns

    def rate(self) -> BusRate:
        p50, p99 = np.percentile(self.took_ns, [50, 99]) / 1e6 if self.took_ns else (None, None)
        reads = len(self.took_ns) + self.failures
        return BusRate(self.name, reads, p50, p99, self.failures, self.slow, self.limit_ns / 1e6, self.last_error)


def probe_robot(argv: Sequence[str], timing: TimingFlags, fps: int, seconds: float, clock: Clock) -> RobotSide:
    """Measure the cameras and buses of `--robot.*` and `--teleop.*`.

    Raises:
        ImportError: lerobot is not installed.
        UsageError: flags that cannot be.
        SourceError: a camera or a bus does not answer at all.
    """
    from control.lerobot_build import make_devices
    from control.lerobot_bus import buses_of
    from control.lerobot_cameras import take_cameras

    devices = make_devices(argv, needs_teleop=False)
    ours, theirs = Link.pair()
    with ExitStack() as undo:
        undo.callback(ours.close)
        undo.callback(theirs.close)
        proxies, cameras = take_cameras(devices["robot"], timing, theirs)
        undo.callback(cameras.close)
        cameras.start()
        sizes = [(proxy.width, proxy.height) for proxy in proxies.values()]
        limit_ns = 10**9 // fps // _TICK_PART
        reads = [
            _Reads(_name(section, index, buses), bus, clock, limit_ns)
            for section, device in devices.items()
            for buses in [buses_of(device)]
            for index, bus in enumerate(buses)
        ]
        for each in reads:
            _open(each)
            # Torque stays as it is: nobody shall find an arm limp, or stiff, for having been measured.
            undo.callback(each.bus.disconnect, disable_torque=False)
        for proxy in proxies.values():
            _first_picture(proxy)

        def read_all() -> None:
            for each in reads:
                each.read()

        rates = measure_rates(cameras.memories, fps, seconds, clock, read_all)
        said = _said(ours)
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    unknown = tuple(section for section, device in devices.items() if not buses_of(device))
    return RobotSide(tuple(rates), tuple(each.rate() for each in reads), (len(sizes), *largest), unknown, said)


def _said(link: Link) -> tuple[str, ...]:
    lines = []
    try:
        while (received := link.receive(_NO_WAIT_S)) is not None:
            lines.append(str(received[0].get("log", "")))
    except TimeoutError:
        pass
    return tuple(lines)


def _name(section: str, index: int, buses: Sequence[Any]) -> str:
    return section if len(buses) == 1 else f"{section} {index + 1}"


def _open(reads: _Reads) -> None:
    try:
        reads.bus.connect()
    except Exception as error:
        text = " ".join(f"{error}".split())
        raise SourceError(
            f"the bus of the {reads.name} cannot be opened: {text}; check --{reads.name.split()[0]}.*, cable and power"
        ) from error


def _first_picture(proxy: Any) -> None:
    try:
        proxy.connect()
    except ConnectionError as error:
        raise SourceError(f"{error}; check --robot.cameras and the cable") from error

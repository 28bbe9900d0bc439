"""The robot of HIL-SERL's `RobotEnv`: its reads and writes may fail for once, and the sidecar says when they did."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.camera_watch import CameraWatch
from control.clock import Clock
from control.lerobot_account import CameraAccount, CameraLimits
from control.lerobot_bus import BusLimits
from control.lerobot_camera import CameraProxy
from control.lerobot_held import Held
from transport.schema import Stream

_SENT_KEY = "onbeat.sent_action"
_CURRENT = "Present_Current"
# Whose failures are those of a frame's observation.
_READS = ("robot_read", "current_read")


class HeldRobot:
    """Puts itself between `RobotEnv` and a connected robot, and between the processors and the teleoperator.

    Args:
        cameras: stand-ins of the robot's cameras, by name.
        fps: ticks per second; a failed call may cost a quarter of one.
        reads_current: whether a processor reads the motors' currents, in each frame and by itself.
        watch: over the cameras' processes.

    Attributes:
        streams: telemetry of each frame. `observed_ns` is when the frame's observation was asked for: right after the
            previous frame's action, as `RobotEnv` does it.

    Raises:
        SourceError: a first read failed.
    """

    def __init__(
        self,
        robot: Any,
        teleop: Any,
        cameras: Mapping[str, CameraProxy],
        *,
        clock: Clock,
        fps: int,
        limits: CameraLimits,
        reads_current: bool,
        watch: CameraWatch,
    ) -> None:
        self._clock, self._watch = clock, watch
        limit_ns = 10**9 // fps // 4
        robot_buses = BusLimits(robot, clock.now_ns)
        state = Held("read of the robot", robot_buses, limit_ns)
        wanted = Held("read of the teleoperator", BusLimits(teleop, clock.now_ns), limit_ns)
        sent = Held("write to the robot", robot_buses, limit_ns)
        self._helds = {"robot_read": state, "teleop_read": wanted, "send": sent}
        self._names = tuple(name for name, kind in robot.action_features.items() if kind is float)
        read, send, act = robot.get_observation, robot.send_action, teleop.get_action
        first = state.prime(read)
        wanted.prime(act)
        sent.prime(dict)
        proxies = {key: proxy for key, value in first.items() for proxy in cameras.values() if value is proxy.own}
        self._cameras = {key: CameraAccount(key, proxy, limits) for key, proxy in proxies.items()}
        self._observed_ns = clock.now_ns()
        self._sent: Mapping[str, Any] = {}

        def get_observation() -> dict[str, Any]:
            self._observed_ns = clock.now_ns()
            observation: dict[str, Any] = state.get(read)
            if state.failed:
                observation = observation | {key: proxy.read_latest() for key, proxy in proxies.items()}
            return observation

        def send_action(action: Any) -> Any:
            self._sent = sent.get(lambda: send(action))
            return self._sent

        robot.get_observation, robot.send_action = get_observation, send_action
        if reads_current:
            self._helds["current_read"] = _hold_currents(robot.bus, robot_buses, limit_ns)
        teleop.get_action = lambda: wanted.get(act)
        self.streams = (
            Stream("onbeat.observed_ns", "int64", (1,)),
            *(Stream(f"onbeat.{name}_failed", "bool", (1,)) for name in ("robot_read", "teleop_read", "send")),
            Stream(_SENT_KEY, "float32", (len(self._names),), names=self._names),
            *(stream for camera in self._cameras.values() for stream in camera.streams),
        )

    def begin(self) -> None:
        self._watch.await_fresh()
        for held in self._helds.values():
            held.forget_failures()
        for camera in self._cameras.values():
            camera.begin()

    def idle(self) -> None:
        self._watch.look()

    def note_observation(self, row: NDArray[np.void]) -> None:
        row["onbeat.observed_ns"] = self._observed_ns
        row["onbeat.robot_read_failed"] = any(held.failed for name, held in self._helds.items() if name in _READS)
        for camera in self._cameras.values():
            camera.fill(row, self._observed_ns)

    def note_action(self, row: NDArray[np.void]) -> None:
        for name in ("teleop_read", "send"):
            row[f"onbeat.{name}_failed"] = self._helds[name].failed
        row[_SENT_KEY] = [float(self._sent.get(name, math.nan)) for name in self._names]

    def summary(self) -> str:
        said = [held.summary for held in self._helds.values() if held.failures]
        said += [camera.summary for camera in self._cameras.values() if camera.summary]
        return "; ".join(said)


def _hold_currents(bus: Any, limits: BusLimits, limit_ns: int) -> Held:
    """Let a failed read of the motors' currents give those before."""
    held, read = Held("read of the motors' currents", limits, limit_ns), bus.sync_read
    held.prime(lambda: read(_CURRENT))

    def sync_read(name: str, *args: Any, **kwargs: Any) -> Any:
        if name != _CURRENT:
            return read(name, *args, **kwargs)
        return held.get(lambda: read(name, *args, **kwargs))

    bus.sync_read = sync_read
    return held

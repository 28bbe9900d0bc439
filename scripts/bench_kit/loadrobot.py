"""The simulated arm as a lerobot robot; lerobot finds the class by the name of its module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lerobot.robots import Robot, RobotConfig

from scripts.bench_kit.devices import SimulatedArm


@RobotConfig.register_subclass("onbeat_load")
@dataclass(kw_only=True)
class LoadRobotConfig(RobotConfig):  # type: ignore[misc] # lerobot has no types
    """The load; `ticks` is the room for their times."""

    n_cameras: int
    width: int
    height: int
    joints: int
    step_ms: float
    ticks: int


class LoadRobot(Robot):  # type: ignore[misc] # lerobot has no types
    """Implements lerobot's interface of a robot."""

    config_class = LoadRobotConfig
    name = "onbeat_load"
    arm: SimulatedArm

    def __init__(self, config: LoadRobotConfig) -> None:
        super().__init__(config)
        self.arm = SimulatedArm(
            config.n_cameras, config.width, config.height, config.joints, config.step_ms, config.ticks
        )
        LoadRobot.arm = self.arm
        self._shape = (config.height, config.width, 3)
        self._connected = False

    @property
    def cameras(self) -> dict[str, None]:
        """Only counted by lerobot-record."""
        return dict.fromkeys(self.arm.cameras)

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**dict.fromkeys(self.arm.joints, float), **dict.fromkeys(self.arm.cameras, self._shape)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.arm.joints, float)

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        self._connected = True

    def calibrate(self) -> None:
        """Nothing to calibrate."""

    def configure(self) -> None:
        """Nothing to configure."""

    def get_observation(self) -> dict[str, Any]:
        return self.arm.read()

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.arm.send()
        return action

    def disconnect(self) -> None:
        self._connected = False

"""The simulated leader arm as a lerobot teleoperator; lerobot finds the class by the name of its module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lerobot.teleoperators import Teleoperator, TeleoperatorConfig

from scripts.bench_kit.loadrobot import LoadRobot


@TeleoperatorConfig.register_subclass("onbeat_load")
@dataclass(kw_only=True)
class LoadTeleopConfig(TeleoperatorConfig):  # type: ignore[misc] # lerobot has no types
    """Nothing to set: it says what the simulated robot does."""


class LoadTeleop(Teleoperator):  # type: ignore[misc] # lerobot has no types
    """Implements lerobot's interface of a teleoperator."""

    config_class = LoadTeleopConfig
    name = "onbeat_load"

    def __init__(self, config: LoadTeleopConfig) -> None:
        super().__init__(config)
        self._connected = False

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(LoadRobot.arm.joints, float)

    @property
    def feedback_features(self) -> dict[str, Any]:
        return {}

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

    def get_action(self) -> dict[str, float]:
        return LoadRobot.arm.action()

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """Nobody feels it."""

    def disconnect(self) -> None:
        self._connected = False

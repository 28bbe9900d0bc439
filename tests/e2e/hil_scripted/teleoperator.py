"""`scripted_hil`: a teleoperator with HIL-SERL's events, found by lerobot as a third party's is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.teleoperators import Teleoperator, TeleoperatorConfig, TeleopEvents

from .script import MOVE, Script, events

_AXES = ("delta_x", "delta_y", "delta_z", "gripper")


@TeleoperatorConfig.register_subclass("scripted_hil")
@dataclass
class ScriptedHilConfig(TeleoperatorConfig):
    words: list[str] = field(default_factory=list)


class ScriptedHil(Teleoperator):
    config_class = ScriptedHilConfig
    name = "scripted_hil"

    def __init__(self, config: ScriptedHilConfig) -> None:
        super().__init__(config)
        self._script = Script(config.words)
        self._connected = False

    @property
    def action_features(self) -> dict[str, Any]:
        return {"dtype": "float32", "shape": (4,), "names": {axis: index for index, axis in enumerate(_AXES)}}

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

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_action(self) -> dict[str, float]:
        return dict(zip(_AXES, MOVE, strict=True))

    def get_teleop_events(self) -> dict[TeleopEvents, bool]:
        return events(self._script.next_word())

    def send_feedback(self, feedback: dict[str, Any]) -> None: ...

    def disconnect(self) -> None:
        self._connected = False

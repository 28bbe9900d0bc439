"""`scripted_leader`: an SO-101 leader with HIL-SERL's events; lerobot's recorder takes its joints as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lerobot.teleoperators import TeleoperatorConfig, TeleopEvents
from lerobot.teleoperators.so_leader import SO101Leader, SOLeaderTeleopConfig

from .script import Script, events


@TeleoperatorConfig.register_subclass("scripted_leader")
@dataclass
class ScriptedLeaderConfig(SOLeaderTeleopConfig):
    words: list[str] = field(default_factory=list)


class ScriptedLeader(SO101Leader):
    config_class = ScriptedLeaderConfig
    name = "so_leader"

    def __init__(self, config: ScriptedLeaderConfig) -> None:
        super().__init__(config)
        self._script = Script(config.words)

    @property
    def action_features(self) -> dict[str, Any]:
        names = {f"{motor}.pos": index for index, motor in enumerate(self.bus.motors)}
        return {"dtype": "float32", "shape": (len(names),), "names": names}

    def get_action(self) -> Any:
        return np.array([*super().get_action().values()], np.float32)

    def get_teleop_events(self) -> dict[TeleopEvents, bool]:
        return events(self._script.next_word())

"""A teleoperator as a third party writes one, with a thread of its own that counts."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from lerobot.teleoperators import Teleoperator, TeleoperatorConfig


class Event(Enum):
    IS_INTERVENTION = "is_intervention"


@TeleoperatorConfig.register_subclass("counting")
@dataclass
class CountingConfig(TeleoperatorConfig):
    start: int = 0


class Counting(Teleoperator):
    config_class = CountingConfig
    name = "counting"
    feedback_features: ClassVar[dict[str, type]] = {}
    is_calibrated = True

    def __init__(self, config: CountingConfig) -> None:
        super().__init__(config)
        self._count, self._stop = config.start, threading.Event()
        self._thread: threading.Thread | None = None
        self._reads = self._events_asked = 0

    @property
    def action_features(self) -> dict[str, type]:
        return {"joint.pos": float}

    @property
    def is_connected(self) -> bool:
        return self._thread is not None

    def connect(self, calibrate: bool = True) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            self._count += 1

    def get_action(self) -> dict[str, Any]:
        self._reads += 1
        return {
            "joint.pos": float(self._count),
            "pose": np.eye(2),
            "pressed": {"w": None},
            "reads": self._reads,
            "events_asked": self._events_asked,
        }

    def get_teleop_events(self) -> dict[Event, bool]:
        self._events_asked += 1
        return {Event.IS_INTERVENTION: True}

    def disconnect(self) -> None:
        self._stop.set()

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def send_feedback(self, feedback: dict[str, Any]) -> None: ...

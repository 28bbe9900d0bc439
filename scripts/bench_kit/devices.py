"""What the simulated robots of both systems share: the clock's readings, the bus, the cameras, the joints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.envs import frame_code
from control.load_pictures import PICTURES, forth_and_back, render
from control.load_source import READ_PART
from control.load_trace import TICK_DTYPE


class SimulatedArm:
    """A lerobot robot's data without lerobot: the same pictures, rows and bus as `control.load_source`.

    Every read of an observation is a tick; its number is drawn into its pictures.
    """

    def __init__(self, cameras: int, width: int, height: int, joints: int, step_ms: float, ticks: int) -> None:
        self.joints = [f"joint_{i}.pos" for i in range(joints)]
        self.cameras = [f"cam{i}" for i in range(cameras)]
        self._pictures = [render(width, height, camera) for camera in range(cameras)]
        self._read_s = step_ms / 1e3 * READ_PART
        self._write_s = step_ms / 1e3 - self._read_s
        self._phase = np.arange(joints, dtype=np.float32)
        self._trace = np.zeros(ticks, TICK_DTYPE)
        self.count = 0

    def read(self) -> dict[str, Any]:
        """One observation; the tick starts here."""
        number = self.count
        self._trace["started_ns"][number] = time.monotonic_ns()
        time.sleep(self._read_s)
        observation: dict[str, Any] = dict(zip(self.joints, self._state(number), strict=True))
        shown = forth_and_back(number, PICTURES)
        for camera, (name, rendered) in enumerate(zip(self.cameras, self._pictures, strict=True)):
            frame_code.draw(rendered[shown], number & frame_code.MAX_FRAME_NUMBER, camera)
            observation[name] = rendered[shown]
        return observation

    def action(self) -> dict[str, float]:
        """What the leader arm says: the same joints."""
        return dict(zip(self.joints, self._state(self.count), strict=True))

    def send(self) -> None:
        """Send an action; the tick ends with it."""
        self._trace["action_sent_ns"][self.count] = time.monotonic_ns()
        time.sleep(self._write_s)
        self.count += 1

    def save(self, path: Path, lengths: list[int]) -> None:
        """Write the ticks, episode after episode, as `control.load_trace.TICK_DTYPE`.

        A loop without a grid has its first slot where its first tick started.
        """
        ticks = self._trace[: self.count]
        ticks["episode"] = np.repeat(np.arange(len(lengths)), lengths)
        ticks["scheduled_ns"] = ticks["started_ns"]
        np.save(path, ticks)

    def _state(self, number: int) -> list[float]:
        state: NDArray[np.float32] = np.sin(self._phase + 0.01 * number)
        return [float(value) for value in state]

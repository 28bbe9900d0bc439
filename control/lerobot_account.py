"""When the pictures of a robot's frames were taken: into the sidecar, and too old ones to the operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from control.camera_memory import Shot
from control.config import TimingFlags
from control.errors import SourceError
from transport.schema import Stream


@dataclass(frozen=True, slots=True)
class CameraLimits:
    """A picture older than `stale_ns` is flagged; one older than `lost_ns` ends the episode."""

    stale_ns: int
    lost_ns: int

    @classmethod
    def of(cls, timing: TimingFlags) -> CameraLimits:
        return cls(round(timing.max_camera_age_s * 1e9), round(timing.lost_camera_age_s * 1e9))


class ShotCamera(Protocol):
    """What tells which picture was read last."""

    shot: Shot | None


class CameraAccount:
    """One camera. Per frame: `fill`, after the picture was read.

    Attributes:
        streams: telemetry of each frame: capture time, its kind (`CaptureKind`), sequence number, whether the picture
            is the previous frame's, whether it is older than the limit.
    """

    def __init__(self, key: str, camera: ShotCamera, limits: CameraLimits) -> None:
        self._key, self._camera, self._limits = key, camera, limits
        prefix = f"onbeat.cameras.{key}"
        self.streams = (
            Stream(f"{prefix}.capture_ns", "int64", (1,)),
            Stream(f"{prefix}.capture_kind", "uint8", (1,)),
            Stream(f"{prefix}.seq", "uint64", (1,)),
            Stream(f"{prefix}.repeated", "bool", (1,)),
            Stream(f"{prefix}.stale", "bool", (1,)),
        )
        self._names = [stream.key for stream in self.streams]
        self.begin()

    def begin(self) -> None:
        """A new episode begins."""
        self._frames = self._repeated = self._stale = 0
        self._last_seq = -1

    def fill(self, row: NDArray[np.void], now_ns: int) -> None:
        """Note the picture that was read last.

        Raises:
            SourceError: it is too old for the episode to go on.
        """
        shot = self._camera.shot
        assert shot is not None
        age_ns = now_ns - shot.capture_ns
        if age_ns > self._limits.lost_ns:
            raise SourceError(
                f"camera {self._key} has delivered nothing for {age_ns / 1e9:.1f} s, expected at most "
                f"{self._limits.lost_ns / 1e9:g} s; check its cable, or set --timing.lost_camera_age_s"
            )
        repeated, stale = shot.seq == self._last_seq, age_ns > self._limits.stale_ns
        self._last_seq = shot.seq
        self._frames += 1
        self._repeated += repeated
        self._stale += stale
        values: tuple[Any, ...] = (shot.capture_ns, shot.kind, shot.seq, repeated, stale)
        for name, value in zip(self._names, values, strict=True):
            row[name] = value

    @property
    def summary(self) -> str:
        """One line for people; empty while no picture was too old."""
        if not self._stale:
            return ""
        return (
            f"camera {self._key}: {self._stale} of {self._frames} pictures older than "
            f"{self._limits.stale_ns / 1e9:g} s, {self._repeated} repeated"
        )

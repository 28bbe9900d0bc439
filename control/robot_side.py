"""What the doctor measures of a robot: values without I/O, which become the JSON as they are."""

from __future__ import annotations

from dataclasses import dataclass

from control.camera_rate import CameraRate


@dataclass(frozen=True, slots=True)
class BusRate:
    """One serial bus, asked for all positions once a tick.

    Attributes:
        p50_ms, p99_ms: of the reads that were answered; None without any.
        failures: reads without a whole answer.
        slow: reads that took longer than `limit_ms`, which a recording gives up then.
        last_error: the driver's words, empty without failures.
    """

    name: str
    reads: int
    p50_ms: float | None
    p99_ms: float | None
    failures: int
    slow: int
    limit_ms: float
    last_error: str = ""

    @property
    def lost_part(self) -> float:
        """The part of the reads that a recording would do without."""
        return (self.failures + self.slow) / self.reads if self.reads else 0.0


@dataclass(frozen=True, slots=True)
class RobotSide:
    """A robot's own cameras and buses.

    Attributes:
        pictures: how many cameras, width and height of the largest.
        unknown: of "robot" and "teleop", those whose bus cannot be measured by itself.
        said: what the cameras' keeper had to say meanwhile.
    """

    cameras: tuple[CameraRate, ...]
    buses: tuple[BusRate, ...]
    pictures: tuple[int, int, int]
    unknown: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

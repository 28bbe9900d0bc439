"""READY: what control says of itself before the first episode, with the shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ready:
    """Control has a source and waits for GO.

    Attributes:
        schema: of the frames, as it crosses the network.
        fps: of the dataset.
        paced: False when the loop runs as fast as the source steps.
        robot_type: LeRobot's, of the dataset.
        ring_bytes, ring_slots: size of the log ring.
        protections: what the loop is protected by: name, and "yes" or why not.
        session_id: of the log ring, and of the ledger.
    """

    schema: dict[str, Any]
    fps: int
    paced: bool
    robot_type: str | None
    ring_bytes: int
    ring_slots: int
    protections: Mapping[str, str]
    session_id: str

    @property
    def record_bytes(self) -> int:
        """Of one record in the ring."""
        return self.ring_bytes // self.ring_slots

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, message: Mapping[str, Any]) -> Ready:
        return cls(**message)

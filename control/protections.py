"""What the loop asks of its real-time set-up, and a set-up that does nothing."""

from __future__ import annotations

from typing import Protocol

from transport.schema import LoopFlag


class Protections(Protocol):
    """See `control.realtime.RealTime`."""

    @property
    def flags(self) -> LoopFlag:
        """What holds now."""

    def before_episode(self) -> None:
        """Called between two episodes."""

    def episode_begins(self) -> None:
        """Called before the first tick."""

    def episode_ended(self) -> None:
        """Called after the last tick, also when it failed."""

    def drop_to_normal(self) -> bool:
        """Give a real-time priority up; False if there was none."""


class Unprotected:
    """A loop without real-time set-up, as in tests."""

    def __init__(self, *, paced: bool) -> None:
        self.flags = LoopFlag.PACED if paced else LoopFlag(0)

    def before_episode(self) -> None:
        """Nothing to prepare."""

    def episode_begins(self) -> None:
        """Nothing to hold back."""

    def episode_ended(self) -> None:
        """Nothing to let go."""

    def drop_to_normal(self) -> bool:
        return False

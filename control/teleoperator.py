"""Who acts: the interface of teleoperators for gymnasium environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TeleopAction:
    """What the teleoperator wants in this tick.

    Attributes:
        action: in the environment's action space, or None to leave the tick to the policy or the environment.
        is_intervention: a person took over from a policy (or from a script) in this tick.
        success, failure, rerecord, stop: the operator's events, true in the one tick in which they happen.
    """

    action: NDArray[Any] | None = None
    is_intervention: bool = False
    success: bool = False
    failure: bool = False
    rerecord: bool = False
    stop: bool = False


class Teleoperator(Protocol):
    """A person at a device, or a script."""

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, observation: Any, info: Mapping[str, Any]) -> TeleopAction:
        """Decide the action for this tick from the observation in hand. Must not block."""

    def close(self) -> None:
        """Release the device. May be called twice."""

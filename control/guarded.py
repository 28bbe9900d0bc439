"""What the guardian is told: which motors on which buses, and how it hears from control how the session ended.

Two counters in the kernel outlive control and every guardian: one says that the robot was released in order, one that
control has failed and has closed its ports. Control's death needs no word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transport.errors import OnbeatError, RefusedError, UsageError
from transport.link import Link

RELEASE, HOLD = "release", "hold"
_ANSWER_LIMIT_S = 60.0


@dataclass
class OwnRobotFlags:
    # How the robot is left when the session does not end in order: "release" (torque off) or "hold" (torque on).
    on_fault: str = RELEASE

    def check(self) -> None:
        """
        Raises:
            UsageError: it is neither of the two.
        """
        if self.on_fault not in (RELEASE, HOLD):
            raise UsageError(f"--robot.on_fault={self.on_fault} found, expected {RELEASE} or {HOLD}")


@dataclass(frozen=True, slots=True)
class GuardedMotor:
    """One servo; registers by their addresses, of one byte if nothing else is said.

    Attributes:
        lock: of the EEPROM's lock, which lerobot sets with the torque; None where there is none.
        mode: of the operating mode; None where there is one mode, in which it keeps a position.
        position, goal: of the present position and its goal, in the same units.
        position_bytes: their size.
        holds_in: values of the operating mode in which torque keeps a position; in others it may turn for ever.
    """

    id: int
    torque: int
    lock: int | None
    mode: int | None
    position: int
    goal: int
    position_bytes: int
    holds_in: Sequence[int]


@dataclass(frozen=True, slots=True)
class GuardedBus:
    """A serial bus.

    Attributes:
        sdk: the servo maker's Python package, as lerobot uses it.
        port: the serial port's path.
        baud: bits per second.
        protocol: the maker's number of it.
    """

    sdk: str
    port: str
    baud: int
    protocol: float
    motors: Sequence[GuardedMotor]

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, message: Mapping[str, Any]) -> GuardedBus:
        return cls(**{**message, "motors": [GuardedMotor(**motor) for motor in message["motors"]]})


class Guard:
    """Control's side: returns once a guardian watches this process.

    Args:
        link: to the supervisor.
        on_fault: `release` or `hold`.

    Raises:
        OnbeatError: there is no guardian.
    """

    def __init__(self, link: Link, buses: Sequence[GuardedBus], on_fault: str) -> None:
        self._released, self._handed_over = (os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2))
        self._told = False
        message = {"buses": [bus.to_wire() for bus in buses], "hold": on_fault == HOLD}
        link.send({"guard": message}, [self._released, self._handed_over])
        try:
            answer = link.receive(_ANSWER_LIMIT_S)
        except TimeoutError:
            raise OnbeatError(
                f"no guardian watches the robot after {_ANSWER_LIMIT_S:g} s, which a second is for"
            ) from None
        if answer is None:
            raise OnbeatError("the supervisor ended before the robot was guarded")
        if "refused" in answer[0]:
            raise RefusedError(answer[0]["refused"])

    def stand_down(self) -> None:
        """The robot was released in order: there is nothing to do."""
        self._tell(self._released)

    def hand_over(self) -> None:
        """The session failed and the ports are closed: the guardian may have them."""
        self._tell(self._handed_over)

    def _tell(self, fd: int) -> None:
        if not self._told:
            self._told = True
            os.eventfd_write(fd, 1)

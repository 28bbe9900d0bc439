"""What a device said last, for the ticks in which it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control.errors import SourceError
from control.lerobot_bus import BusLimits
from control.serial_faults import SERIAL_FAULTS, words

_MAX_IN_A_ROW = 3


class Held:
    """Calls that may fail for once: the value before is used again, and the failure noted.

    Args:
        what: for people, for example "read of the robot".
        limits: of the buses that the call uses.
        limit_ns: what a call may cost when it fails.

    Attributes:
        failed: whether the last call did.
        failures: since `forget_failures`.
    """

    def __init__(self, what: str, limits: BusLimits, limit_ns: int) -> None:
        self._what, self._limits, self._limit_ns = what, limits, limit_ns
        self._value: Any = None
        self._in_a_row = 0
        self._last_error = ""
        self.failed = False
        self.failures = 0

    def prime(self, call: Callable[[], Any]) -> Any:
        """The first value of all, before the loop, for which there is time.

        Raises:
            SourceError: the call failed.
        """
        try:
            self._value = call()
        except SERIAL_FAULTS as error:
            raise SourceError(f"the first {self._what} failed: {words(error)}; check cable and power") from error
        return self._value

    def get(self, call: Callable[[], Any]) -> Any:
        """The call's value, or the one before.

        Raises:
            SourceError: it failed three times in a row.
        """
        try:
            with self._limits.within(self._limit_ns):
                self._value = call()
        except SERIAL_FAULTS as error:  # a bus without an answer (ConnectionError), a cable pulled out
            self.failed = True
            self.failures += 1
            self._in_a_row += 1
            self._last_error = words(error)
            if self._in_a_row >= _MAX_IN_A_ROW:
                raise SourceError(
                    f"the {self._what} failed {self._in_a_row} times in a row: {self._last_error}; check cable and "
                    f"power, or lower --dataset.fps (a quarter of a tick is waited, {self._limit_ns / 1e6:.1f} ms)"
                ) from error
        else:
            self.failed = False
            self._in_a_row = 0
        return self._value

    def forget_failures(self) -> None:
        """A new episode begins."""
        self.failures = self._in_a_row = 0

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.failures} times the {self._what} failed, last: {self._last_error}"

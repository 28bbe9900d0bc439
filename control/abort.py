"""Whether the session is to end at once: set by a signal's handler, looked at wherever the loop waits.

The handler itself raises nothing: an exception in the middle of a bus's transaction would leave a bus that is in use
for good, and a robot that cannot be released.
"""

from __future__ import annotations

import time

from control.errors import SessionAborted

_LOOK_S = 0.05


class Abort:
    """One session's.

    Attributes:
        reason: why it is to end; empty while it goes on.
    """

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason = ""

    def ask(self, reason: str) -> None:
        """End the session as soon as somebody looks; safe to call from a signal handler."""
        self.reason = reason

    def check(self) -> None:
        """Look.

        Raises:
            SessionAborted: the session is to end.
        """
        if self.reason:
            raise SessionAborted(self.reason)

    def sleep(self, seconds: float) -> None:
        """Sleep, and look before, meanwhile and after.

        Raises:
            SessionAborted: as `check`.
        """
        deadline_s = time.monotonic() + seconds
        self.check()
        while (left_s := deadline_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_S))
            self.check()

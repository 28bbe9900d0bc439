"""Tasks that the operator types between two episodes, as the loop sees them: messages on the supervisor's link.

Read only while nothing is recorded, and without waiting.
"""

from __future__ import annotations

import select

from transport.link import Link


class AskedTasks:
    """The newest task that was typed. Messages are `{"task": text, "take": id}`; all others are dropped.

    Args:
        link: to the supervisor; nobody else reads it meanwhile.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open = True
        self._take, self._task = -1, ""

    def of(self, take: int) -> str | None:
        """The task of a take, the session's own count; None while it is not known."""
        while self._open and select.select([self._link.fileno()], [], [], 0)[0]:
            received = self._link.receive(timeout_s=1)
            if received is None:
                self._open = False
            elif "task" in received[0]:
                self._take, self._task = received[0]["take"], received[0]["task"]
        return self._task if self._take == take else None

"""A process that the supervisor starts, and starts again when it dies."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from transport.errors import OnbeatError
from transport.link import Link

Spawn = Callable[[], tuple[subprocess.Popen[bytes], Link]]
_MAX_RESTARTS = 10
_RESTARTS_WITHIN_S = 60.0


class Child:
    """One process at a time; `process`, `link` and `pidfd` are those of the current one.

    Args:
        name: in lines for the operator.
        spawn: starts it; called in the main thread.
        take: takes its messages.
        patience_s: how long it may take to end.
        last_words: what it says while it ends is taken too.
        may_end: ending with code 0 means that it has done what it was started for.
    """

    def __init__(
        self,
        name: str,
        spawn: Spawn,
        take: Callable[[dict[str, Any]], None],
        patience_s: float,
        *,
        last_words: bool = False,
        may_end: bool = False,
    ) -> None:
        self.name, self.may_end = name, may_end
        self._spawn, self._take, self._patience_s, self._last_words = spawn, take, patience_s, last_words
        self._starts: deque[float] = deque()
        self._begin()

    def _begin(self) -> None:
        self.process, self.link = self._spawn()
        self.pidfd = os.pidfd_open(self.process.pid)
        self._starts.append(time.monotonic())

    def restart(self) -> int:
        """Start it again after its death; returns the code with which it ended.

        Raises:
            OnbeatError: it keeps dying.
        """
        code = self.process.wait()
        self._starts = deque(start for start in self._starts if start > time.monotonic() - _RESTARTS_WITHIN_S)
        if len(self._starts) >= _MAX_RESTARTS:
            raise OnbeatError(f"{self.name} ended {_MAX_RESTARTS} times within a minute (last with code {code})")
        self.link.close()
        os.close(self.pidfd)
        self._begin()
        return code

    def take_message(self) -> bool:
        """Take one message in, waiting for it; False when there will be none."""
        received = self.link.receive()
        if received is None:
            return False
        self._take(received[0])
        return True

    def end(self, *, ask: bool) -> None:
        """Wait for its end; `ask` sends SIGTERM first, and what does not end in time is killed."""
        if ask and self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.take_rest()

    def take_rest(self) -> None:
        """Take what it said before it ended."""
        while self._last_words and select.select([self.link.fileno()], [], [], 0)[0] and self.take_message():
            pass

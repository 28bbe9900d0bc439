"""The control process as its supervisor sees it: started by it, or the one that started it."""

from __future__ import annotations

import os
import select
import signal
import subprocess

from transport.link import Link


class ControlHandle:
    """A link, a pidfd, and the process object if it is our child."""

    def __init__(self, link: Link, pidfd: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.link = link
        self.pidfd = pidfd
        self._process = process

    def ended(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def exit_code(self) -> int | None:
        """None where it is not our child, or still runs."""
        return None if self._process is None else self._process.poll()

    def wait_readable(self, timeout_s: float) -> bool:
        """Whether the link has a message, or the process has ended, within the time."""
        ready, _, _ = select.select([self.link.fileno(), self.pidfd], [], [], timeout_s)
        return self.link.fileno() in ready

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, and end it when it does not come; a caller's process is left alone."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def is_ours(self) -> bool:
        """Whether it was started by this process, which may then end it."""
        return self._process is not None

    def kill(self) -> None:
        """End it at once, also when it is stopped."""
        assert self._process is not None
        self._process.kill()

    def release(self) -> None:
        """The session is over: wait for our child, which closes its environment."""
        self.wait(15)

    def terminate(self) -> None:
        """Ask it to abort the session at the next tick."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGTERM) if not self.ended() else None


def own_pidfd() -> int:
    return os.pidfd_open(os.getpid())

"""A program that plays or speaks: at most one at a time, never waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

# What takes longer than a sentence hangs.
LONGEST_S = 10.0


class OneSound:
    """The program that is running, if any.

    Args:
        now_s: a monotonic clock.

    Attributes:
        process: None while all is silent.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._since_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], sound: bytes = b"") -> None:
        """Start a program with `sound` as its standard input; nothing may be running.

        Raises:
            OSError: it cannot be started.
        """
        self._since_s = self._now_s()
        # A file in memory: a player that does not read cannot hold us up.
        fd = os.memfd_create("onbeat-sound", os.MFD_CLOEXEC)
        try:
            os.write(fd, sound)
            os.lseek(fd, 0, os.SEEK_SET)
            self.process = subprocess.Popen(
                command, stdin=fd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
            )
        finally:
            os.close(fd)

    def failure(self) -> str:
        """What was wrong with what has ended, once; empty if nothing was. Ends what hangs; call it now and then."""
        if self.process is None:
            return ""
        if self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            return f"ended with code {code}" if code else ""
        if self._now_s() - self._since_s > LONGEST_S:
            self.end()
            return f"did not end within {LONGEST_S:g} s"
        return ""

    def end(self, patience_s: float = 0.0) -> None:
        """End what still runs after `patience_s`, with all that it started."""
        if self.process is None:
            return
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

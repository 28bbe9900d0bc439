"""A program that plays or speaks: at most one at a time, never waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence


class OneSound:
    """The program that is running, if any.

    Attributes:
        process: None while all is silent.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], sound: bytes = b"") -> None:
        """Start a program with `sound` as its standard input; nothing may be running.

        Raises:
            OSError: it cannot be started.
        """
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

    def reap(self) -> int | None:
        """The exit code of a program that has ended, once; None while it runs, and when there is none."""
        if self.process is None or self.process.poll() is None:
            return None
        code, self.process = self.process.returncode, None
        return code

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

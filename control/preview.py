"""`--display_data` as the supervisor sees it: a process that it starts, says goodbye to, and can do without."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection

from control.preview_settings import PreviewSettings
from control.ready import Ready
from transport.link import read_only, spawn

_END_S = 5.0


class Preview:
    """One session's; its death is told, and the recording goes on.

    Args:
        ring_fd: the log ring's, which the process gets for reading only.
        note, warn: one line for the operator.
    """

    def __init__(
        self,
        settings: PreviewSettings,
        ready: Ready,
        ring_fd: int,
        note: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._settings, self._note, self._warn = settings, note, warn
        self._why = ""
        read_fd = read_only(ring_fd)
        first = {
            "schema": ready.schema,
            "fps": ready.fps,
            "mode": settings.mode,
            "ip": settings.ip,
            "port": settings.port,
            # As lerobot-record does: over a network pictures go as JPEG.
            "compress": settings.compress or (settings.ip is not None and settings.port is not None),
        }
        try:
            process, self._link = spawn("control.lerobot_preview", first, [read_fd])
        finally:
            os.close(read_fd)
        self._process: subprocess.Popen[bytes] | None = process
        # A viewer that it started may hold its end of the link open.
        self._pidfd = os.pidfd_open(process.pid)

    def fds(self) -> list[int]:
        """To be waited on."""
        return [] if self._process is None else [self._link.fileno(), self._pidfd]

    def turn(self, ready: Collection[int]) -> None:
        """Take in what it says; `ready` can be read."""
        if self._process is None:
            return
        received = self._link.receive() if self._link.fileno() in ready else None
        if received is not None and "failed" in received[0]:
            self._why = f": {received[0]['failed']}"
        elif received is not None:
            where = f" at ws://{self._settings.ip or '127.0.0.1'}:{self._settings.port or 8765}"
            self._note(f"display: {self._settings.mode}{where if self._settings.mode == 'foxglove' else ''}")
        elif self._pidfd in ready:
            code = self._process.wait()
            self._forget()
            self._warn(f"the display ended{self._why or f' with code {code}'}; the recording goes on without it")

    def close(self) -> None:
        """End it; may be called twice."""
        if self._process is None:
            return
        self._link.offer({"end": True})
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        self._link.close()
        os.close(self._pidfd)

"""The writer's parent process: starts ingest and committer, restarts them, and holds what must outlive them.

It holds the lock on the dataset, the two bells (eventfds) and the name of the open session; everything else is on disk.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transport.errors import OnbeatError, UsageError
from transport.link import Link, spawn
from writer.workdir import RootLock

# More restarts than this within a minute mean that restarting does not help.
_MAX_RESTARTS = 10
# Importing lerobot takes ten seconds of CPU while the first episode is being encoded.
_COMMITTER_NICENESS = 19


class _Child:
    """One of the two processes, and how it is started again."""

    def __init__(self, module: str, fds: list[int], niceness: int = 0) -> None:
        self.module = module
        self._fds = fds
        self._niceness = niceness
        self._starts: deque[float] = deque()
        self.running = False
        self.process: subprocess.Popen[bytes]
        self.link: Link
        self.pidfd = -1

    def start(self, config: dict[str, Any]) -> None:
        now_s = time.monotonic()
        self._starts.append(now_s)
        while self._starts[0] < now_s - 60:
            self._starts.popleft()
        if len(self._starts) > _MAX_RESTARTS:
            raise OnbeatError(f"{self.module} ended {_MAX_RESTARTS} times within a minute; see its messages above")
        self.process, self.link = spawn(
            self.module, config, self._fds, die_with_parent=signal.SIGTERM, niceness=self._niceness
        )
        self.pidfd = os.pidfd_open(self.process.pid)
        self.running = True

    def forget(self) -> int:
        """After its end: the exit code."""
        self.running = False
        os.close(self.pidfd)
        self.link.close()
        return self.process.wait()

    def stop(self, timeout_s: float) -> None:
        self.link.send({"stop": True})
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class WriterParent:
    """Runs one writer.

    Args:
        address: where recorders connect to.
        base: the folder for datasets of remote recorders; None takes the folder that the recorder names.
        once: end after the first session.
        supervisor_fd: a pidfd of the recorder's supervisor for a local writer.
        log: one line for people.
    """

    def __init__(
        self,
        address: str,
        base: Path | None,
        *,
        once: bool,
        supervisor_fd: int | None,
        log: Callable[[str], None],
    ) -> None:
        self._address, self._base, self._once, self._log = address, base, once, log
        self._supervisor_fd = supervisor_fd
        bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self._ingest = _Child("writer.ingest", bells)
        self._committer = _Child("writer.committer", bells, _COMMITTER_NICENESS)
        self._lock: RootLock | None = None
        self._opened: dict[str, Any] | None = None
        self._over = False
        self._failure = ""
        self._stop_read, self._stop_write = os.pipe()

    def run(self) -> None:
        """Serve until a signal, or (with `once`) until the session is over.

        Raises:
            UsageError: ingest cannot listen at the address.
            OnbeatError: a child keeps dying.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(self._stop_write, b"x"))
        self._start_ingest()
        try:
            while not self._over:
                self._step()
        finally:
            self._ingest.stop(15)
            if self._committer.running:
                self._committer.stop(60)
            if self._lock is not None:
                self._lock.release()

    def _start_ingest(self) -> None:
        base = None if self._base is None else str(self._base)
        self._ingest.start({"address": self._address, "base": base, "session": self._opened})

    def _step(self) -> None:
        poller = select.poll()
        children = [child for child in (self._ingest, self._committer) if child.running]
        for fd in (self._stop_read, *(child.pidfd for child in children), *(c.link.fileno() for c in children)):
            poller.register(fd, select.POLLIN)
        if self._supervisor_fd is not None:
            poller.register(self._supervisor_fd, select.POLLIN)
        ready = dict(poller.poll())
        if self._stop_read in ready:
            self._over = True
            return
        if self._supervisor_fd is not None and self._supervisor_fd in ready:
            self._supervisor_fd = None
            self._ingest.link.send({"orphan": True})
            if self._opened is None:
                self._over = True
        for child in children:
            if child.link.fileno() in ready:
                with contextlib.suppress(OSError):  # its death is seen by its pidfd
                    received = child.link.receive()
                    if received is not None:
                        self._on_message(child, received[0])
        for child in children:
            if child.pidfd in ready and not self._over:
                self._restart(child)

    def _restart(self, child: _Child) -> None:
        code = child.forget()
        if code == 2 and self._opened is None:
            raise UsageError(self._failure)
        self._log(f"{child.module} ended with code {code}; starting it again")
        if child is self._ingest:
            self._start_ingest()
            if self._supervisor_fd is None and self._opened is not None and self._once:
                child.link.send({"orphan": True})
        else:
            child.start({})
            if self._opened is not None:
                child.link.send({"open": self._opened})

    def _on_message(self, child: _Child, message: dict[str, Any]) -> None:
        if "log" in message:
            self._log(message["log"])
        elif "listening" in message:
            self._log(f"listening at {message['listening']}")
        elif "failed" in message:
            self._failure = message["failed"]
        elif "open" in message:
            self._open(message["open"])
        elif "created" in message:
            # Not before: until here the codec is being measured, which wants the cores for itself.
            if not self._committer.running:
                self._committer.start({})
            self._committer.link.send({"open": self._opened})
        elif "closed" in message and child is self._ingest:
            self._opened = None
            self._committer.link.send({"close": True})
        elif "closed" in message:
            if self._lock is not None:
                self._lock.release()
                self._lock = None
            self._over = self._once

    def _open(self, opened: dict[str, Any]) -> None:
        try:
            self._lock = RootLock(Path(opened["root"]), opened["owner"])
        except (UsageError, OSError) as error:
            self._ingest.link.send({"refused": str(error)})
            return
        self._opened = {"root": opened["root"], "session_id": opened["session_id"]}
        self._ingest.link.send({"opened": True})

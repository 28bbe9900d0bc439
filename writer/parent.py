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
from writer.interrupted import earlier_episodes
from writer.workdir import RootLock, SessionDir, work_dir

# Restarting does not help: more than this within a minute, or so many in a row that ended before they were up, however
# long each took (importing lerobot may take a minute). A writer that serves one recorder after the other goes on all
# the same, slowly: what ends its children may come from one of them.
_MAX_RESTARTS = 10
_MAX_IN_VAIN = 5
_PAUSE_S = 5.0
# Importing lerobot takes ten seconds of CPU while the first episode is being encoded.
_COMMITTER_NICENESS = 19


class _Child:
    """One of the two processes, and how it is started again."""

    def __init__(self, module: str, fds: list[int], niceness: int = 0) -> None:
        self.module = module
        self._fds = fds
        self._niceness = niceness
        self._starts: deque[float] = deque()
        self._in_vain = 0
        self.running = False
        self.process: subprocess.Popen[bytes]
        self.link: Link
        self.pidfd = -1

    @property
    def hopeless(self) -> str:
        """Why one more start would not help; empty if it may."""
        while self._starts and self._starts[0] < time.monotonic() - 60:
            self._starts.popleft()
        if self._in_vain >= _MAX_IN_VAIN:
            return f"{self.module} ended {self._in_vain} times in a row before it was up"
        return (
            f"{self.module} ended {_MAX_RESTARTS} times within a minute" if len(self._starts) >= _MAX_RESTARTS else ""
        )

    def is_up(self) -> None:
        """It said that it has started."""
        self._in_vain = 0

    def start(self, config: dict[str, Any]) -> None:
        self._starts.append(time.monotonic())
        self._in_vain += 1
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
        keys: the folder of the writer's keys; None lets in whoever reaches the address.
        memory_bytes: resident memory at which ingest starts again; None for half of the machine's.
        may_upload: whether recorders may have datasets uploaded with this machine's login to the Hub.
        ring_fd: the log ring of a recorder on this machine, to read.
    """

    def __init__(
        self,
        address: str,
        base: Path | None,
        *,
        once: bool,
        supervisor_fd: int | None,
        log: Callable[[str], None],
        keys: Path | None = None,
        memory_bytes: int | None = None,
        may_upload: bool = True,
        ring_fd: int | None = None,
    ) -> None:
        self._address, self._base, self._once, self._log = address, base, once, log
        self._supervisor_fd = supervisor_fd
        self._ingest_limits = {
            "keys": None if keys is None else str(keys),
            "memory_bytes": memory_bytes,
            "may_upload": may_upload,
        }
        bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self._ingest = _Child("writer.ingest", bells if ring_fd is None else [*bells, ring_fd])
        self._committer = _Child("writer.committer", bells, _COMMITTER_NICENESS)
        self._lock: RootLock | None = None
        self._opened: dict[str, Any] | None = None
        # The committer has yet to finish with a session that ingest has closed; the next one waits for that.
        self._closing: dict[str, Any] | None = None
        self._waiting: dict[str, Any] | None = None
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
            for child, patience_s in ((self._ingest, 15), (self._committer, 60)):
                if child.running:
                    child.stop(patience_s)
            if self._lock is not None:
                self._lock.release()

    def _start_ingest(self) -> None:
        base = None if self._base is None else str(self._base)
        self._ingest.start({"address": self._address, "base": base, "session": self._opened, **self._ingest_limits})

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
        hopeless = child.hopeless
        if hopeless:
            if self._base is None or self._once:
                raise OnbeatError(f"{hopeless}; see its messages above")
            self._log(f"{hopeless}; pausing {_PAUSE_S:g} s")
            if select.select([self._stop_read], [], [], _PAUSE_S)[0]:
                self._over = True
                return
        self._log(f"{child.module} ended with code {code}; starting it again")
        if child is self._ingest:
            self._waiting = None  # whoever asked asks the next one again
            self._start_ingest()
            if self._supervisor_fd is None and self._opened is not None and self._once:
                child.link.send({"orphan": True})
        else:
            child.start({})
            if self._closing is not None:
                # Killed while it was removing the session's folder, there may be nothing left to open.
                if SessionDir(Path(self._closing["root"]), self._closing["session_id"]).agreed() is not None:
                    child.link.send({"open": self._closing})
                child.link.send({"close": True})
            elif self._opened is not None:
                child.link.send({"open": self._opened})

    def _on_message(self, child: _Child, message: dict[str, Any]) -> None:
        if "log" in message:
            self._log(message["log"])
        elif "up" in message:
            child.is_up()
        elif "listening" in message:
            child.is_up()
            if self._base is not None:  # a local writer's address concerns nobody
                self._log(f"listening at {message['listening']}")
        elif "failed" in message:
            self._failure = message["failed"]
        elif "open" in message and self._closing is not None:
            self._waiting = message["open"]
        elif "open" in message:
            self._open(message["open"])
        elif "created" in message:
            # Not before: until here the codec is being measured, which wants the cores for itself.
            if not self._committer.running:
                self._committer.start({})
            self._committer.link.send({"open": self._opened})
        elif "closed" in message and child is self._ingest:
            self._closing, self._opened = self._opened, None
            if self._committer.running:
                self._committer.link.send({"close": True})
            else:
                self._closed()
        elif "closed" in message:
            self._closed()

    def _closed(self) -> None:
        self._closing = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._over = self._once
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._open(waiting)

    def _open(self, opened: dict[str, Any]) -> None:
        try:
            self._lock = RootLock(Path(opened["root"]), opened["owner"])
        except (UsageError, OSError) as error:
            self._ingest.link.send({"refused": str(error)})
            return
        waiting = earlier_episodes(Path(opened["root"]), opened["session_id"])
        if waiting:
            self._log(
                f"{waiting} episodes of earlier sessions wait in {work_dir(Path(opened['root']))}; run `onbeat recover "
                f"{opened['root']}` after this session"
            )
        self._opened = {"root": opened["root"], "session_id": opened["session_id"]}
        self._ingest.link.send({"opened": True})

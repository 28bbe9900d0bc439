"""The keeper of the cameras: a small process that starts a process for each camera, and a new one when one dies.

Starting a process takes milliseconds, which the loop does not have; hence this one. It holds one spare process that
has everything imported, so that a camera is back as soon as its driver has opened it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from control.camera_memory import PictureMemory
from transport.link import Link, child_link, spawn

# A camera that cannot be opened is tried again after this long.
_RETRY_S = 1.0
_TURN_S = 0.2
_END_LIMIT_S = 5.0
# Unplugged for long, a camera is spoken of this often.
_SAY_AGAIN_S = 10.0


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    link: Link
    pidfd: int


class _Kept:
    """One camera and the process that reads it."""

    def __init__(self, message: dict[str, Any], memory_fd: int) -> None:
        self.message, self.name = message, message["name"]
        self.memory = PictureMemory(memory_fd, message["offset"], message["height"], message["width"])
        self.child: _Child | None = None
        self.started_s = self.said_s = 0.0
        self.lost_seq: int | None = None

    def start(self, child: _Child, memory_fd: int) -> None:
        child.link.send(self.message, [memory_fd])
        self.child, self.started_s = child, time.monotonic()


class Keeper:
    """Keeps the cameras of one robot.

    Args:
        cameras: messages for `control.camera_process`.
        memory_fd: the shared memory of all of them.
        log: takes lines for the operator.
    """

    def __init__(self, cameras: list[dict[str, Any]], memory_fd: int, log: Link) -> None:
        self._memory_fd, self._log = memory_fd, log
        self._kept = [_Kept(message, memory_fd) for message in cameras]
        self._spare: _Child | None = None
        for kept in self._kept:
            kept.start(_spawn(), memory_fd)

    def turn(self, timeout_s: float) -> None:
        """Wait for a death for at most `timeout_s`, and do what is to be done."""
        pidfds = [kept.child.pidfd for kept in self._kept if kept.child is not None]
        select.select(pidfds, [], [], timeout_s)
        for kept in self._kept:
            if kept.child is not None and (code := kept.child.process.poll()) is not None:
                self._on_death(kept, code)
            if kept.child is None and time.monotonic() - kept.started_s >= _RETRY_S:
                kept.start(self._spare or _spawn(), self._memory_fd)
                self._spare = None
            if kept.lost_seq is not None and kept.memory.newest_seq > kept.lost_seq:
                kept.lost_seq, kept.said_s = None, 0.0
                self._say(f"camera {kept.name} delivers again")
        if self._spare is not None and self._spare.process.poll() is not None:
            _discard(self._spare)
            self._spare = None
        # Not before: it would slow down those that the session waits for.
        if self._spare is None and all(kept.memory.newest_seq and kept.lost_seq is None for kept in self._kept):
            self._spare = _spawn()

    def close(self) -> None:
        """End all processes, their cameras closed."""
        children = [child for child in (self._spare, *(kept.child for kept in self._kept)) if child is not None]
        for child in children:
            child.process.terminate()
        for child in children:
            try:
                child.process.wait(_END_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()

    def _on_death(self, kept: _Kept, code: int) -> None:
        assert kept.child is not None
        _discard(kept.child)
        kept.child = None
        if kept.lost_seq is None:
            kept.lost_seq = kept.memory.newest_seq
        now_s = time.monotonic()
        if not kept.said_s or now_s - kept.said_s > _SAY_AGAIN_S:
            kept.said_s = now_s
            why = f": {kept.memory.failure}" if code == 1 else f" with code {code}"
            self._say(f"camera {kept.name}: its process ended{why}; it is started again, the last picture is repeated")

    def _say(self, text: str) -> None:
        self._log.offer({"log": text})


def main() -> int:
    """Entry of the process; its link's first message has `cameras` and `cpus`, the memory and a link for log lines."""
    link, first, (memory_fd, log_fd) = child_link()
    if first["cpus"] is not None:
        os.sched_setaffinity(0, first["cpus"])
    signal.signal(signal.SIGTERM, _end)
    keeper = Keeper(first["cameras"], memory_fd, Link.from_fd(log_fd))
    try:
        while not select.select([link.fileno()], [], [], 0)[0]:
            keeper.turn(_TURN_S)
    finally:
        keeper.close()
    return 0


def _spawn() -> _Child:
    process, link = spawn("control.camera_process", {}, die_with_parent=signal.SIGTERM)
    return _Child(process, link, os.pidfd_open(process.pid))


def _discard(child: _Child) -> None:
    child.process.wait()
    child.link.close()
    os.close(child.pidfd)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())

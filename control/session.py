"""Control's side of a session: from a ready source to the last record, in whatever process the loop runs.

`onbeat record` runs it in a process of its own, `record_dataset` in the caller's. Both talk to a supervisor over a
link: READY with the shared memory, then GO or REFUSED, then ENDED.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from control.board import Board
from control.clock import SystemClock
from control.loop import SessionLoop, SessionPlan
from control.pacer import Pacer
from control.source import Source
from transport.errors import LogError, OnbeatError, RefusedError
from transport.link import Link
from transport.ring import LogRing


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What of the flags concerns the loop itself.

    Attributes:
        fps: of the dataset, and of the loop unless it is unpaced.
        paced: False runs as fast as the source steps.
        lock_memory: "auto", "require" or "off".
    """

    fps: int
    paced: bool = True
    ring_s: float = 5.0
    spin_us: float = 200.0
    lock_memory: str = "auto"


def run_session(source: Source, plan: SessionPlan, settings: SessionSettings, link: Link) -> int:
    """Record one session; returns the number of episodes kept.

    Raises:
        RefusedError: the supervisor or the writer said no.
        OnbeatError: as `SessionLoop.run`.
    """
    ring = LogRing.create(source.schema, seconds=settings.ring_s, fps=settings.fps)
    protections = {"log ring locked in memory": _lock(ring, settings.lock_memory)}
    board = Board.create()
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    link.send(
        {
            "ready": {
                "schema": source.schema.to_wire(),
                "fps": settings.fps,
                "paced": settings.paced,
                "robot_type": source.robot_type,
                "ring_bytes": ring.nbytes,
                "ring_slots": ring.slot_count,
                "protections": protections,
            }
        },
        [ring.fd, board.fd, wake_fd],
    )
    answer = link.receive()
    if answer is None:
        raise RefusedError("the supervisor ended before the session began")
    if "refused" in answer[0]:
        raise RefusedError(answer[0]["refused"])
    clock = SystemClock(int(settings.spin_us * 1000))
    pacer = Pacer(settings.fps if settings.paced else 0, clock)
    loop = SessionLoop(source, plan, ring, wake_fd, board, pacer, clock)
    try:
        with _sigterm_aborts(loop):
            loop.run()
    except OnbeatError as error:
        link.send({"ended": str(error), "exit_code": error.exit_code, "recorded": loop.recorded})
        raise
    except BaseException as error:
        link.send({"ended": f"{type(error).__name__}: {error}", "exit_code": 1, "recorded": loop.recorded})
        raise
    link.send({"ended": "", "exit_code": 0, "recorded": loop.recorded})
    return loop.recorded


@contextmanager
def _sigterm_aborts(loop: SessionLoop) -> Iterator[None]:
    """SIGTERM (also the kernel's, when the supervisor dies) ends the session at the next tick, robot released."""

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        loop.abort("ended by SIGTERM")

    previous = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _lock(ring: LogRing, mode: str) -> str:
    """Lock the ring's pages; returns "yes" or why not.

    Raises:
        LogError: `mode` is "require" and the system does not permit it.
    """
    if mode == "off":
        return "off (--timing.lock_memory)"
    if ring.lock():
        return "yes"
    why = (
        f"not permitted: {ring.nbytes >> 20} MB wanted, RLIMIT_MEMLOCK is {_memlock_limit()}; raise memlock in "
        "/etc/security/limits.conf"
    )
    if mode == "require":
        raise LogError(f"the log ring cannot be locked in memory, {why}, or set --timing.lock_memory=auto")
    return why


def _memlock_limit() -> str:

    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return "unlimited" if soft == resource.RLIM_INFINITY else f"{soft >> 20} MB"

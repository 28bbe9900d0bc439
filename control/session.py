"""Control's side of a session: from a ready source to the last record, in whatever process the loop runs.

`onbeat record` runs it in a process of its own, `record_dataset` in the caller's. Both talk to a supervisor over a
link: READY with the shared memory, then GO or REFUSED, then ENDED.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from control.abort import Abort
from control.asked_tasks import AskedTasks
from control.board import Board
from control.clock import SystemClock
from control.config import TimingFlags
from control.errors import tell
from control.loop import SessionLoop
from control.overruns import MissedRule
from control.pacer import Pacer
from control.ready import Ready
from control.realtime import RealTime
from control.session_plan import SessionPlan
from control.source import Draft, Source
from transport.errors import OnbeatError, RefusedError, UsageError
from transport.ledger import Ledger
from transport.link import Link
from transport.ring import LogRing

# An encoder keeps up to sixteen frames before the first is durable; a ring that holds fewer is full for good.
MIN_RING_FRAMES = 32


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What of the flags concerns the loop itself.

    Attributes:
        fps: of the dataset, and of the loop unless it is unpaced.
        paced: False runs as fast as the source steps.
        ring_s: seconds of recording that the log ring holds; at least `MIN_RING_FRAMES` whatever the rate.
        abort: ends it; shared with a source that waits.
        join: told the session's log and board before anything is recorded, for processes beside the loop.
        starts: see `SessionLoop`.
    """

    fps: int
    paced: bool = True
    ring_s: float = 5.0
    timing: TimingFlags = field(default_factory=TimingFlags)
    abort: Abort = field(default_factory=Abort)
    join: Callable[[LogRing, Board], None] | None = None
    starts: Callable[[Draft], None] | None = None


def run_session(source: Source, plan: SessionPlan, settings: SessionSettings, link: Link) -> int:
    """Record one session; returns the number of episodes kept. Leaves the process as it found it.

    Raises:
        RefusedError: nothing has begun: the supervisor or the writer said no, or this machine has no room for the log,
            or does not permit a protection that is required.
        OnbeatError: as `SessionLoop.run`.
    """
    seconds = max(settings.ring_s, MIN_RING_FRAMES / settings.fps)
    with ExitStack() as undo:
        try:
            ring = LogRing.create(source.schema, seconds=seconds, fps=settings.fps)
            protections = undo.enter_context(RealTime(settings.timing, ring, paced=settings.paced))
        except UsageError as error:
            link.send(tell(error))
            raise RefusedError(str(error)) from error
        return _run(source, plan, settings, link, ring, protections)


def _run(
    source: Source, plan: SessionPlan, settings: SessionSettings, link: Link, ring: LogRing, protections: RealTime
) -> int:
    board = Board.create()
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    if settings.join is not None:
        settings.join(ring, board)
    ready = Ready(
        schema=source.schema.to_wire(),
        fps=settings.fps,
        paced=settings.paced,
        robot_type=source.robot_type,
        ring_bytes=ring.nbytes,
        ring_slots=ring.slot_count,
        protections=protections.report,
        session_id=ring.session_id,
    )
    link.send({"ready": ready.to_wire()}, [ring.fd, board.fd, wake_fd])
    answer = link.receive()
    if answer is None:
        raise RefusedError("the supervisor ended before the session began")
    if "refused" in answer[0]:
        raise RefusedError(answer[0]["refused"])
    board.keep_ledger(Ledger(ring.session_id))
    timing = settings.timing
    clock = SystemClock(int(timing.spin_us * 1000))
    loop = SessionLoop(
        source,
        plan,
        ring,
        wake_fd,
        board,
        Pacer(settings.fps if settings.paced else 0, clock),
        clock,
        protections=protections,
        missed_rule=MissedRule(timing.max_missed_fraction, rejects=timing.on_missed == "reject"),
        asked=AskedTasks(link),
        abort=settings.abort,
        starts=settings.starts,
        log=lambda text: _offer(link, text),
    )
    try:
        with _sigterm_asks(settings.abort):
            loop.run()
    except OnbeatError as error:
        link.send({"ended": str(error), "exit_code": error.exit_code, "recorded": loop.recorded})
        raise
    except BaseException as error:
        link.send({"ended": f"{type(error).__name__}: {error}", "exit_code": 1, "recorded": loop.recorded})
        raise
    link.send({"ended": "", "exit_code": 0, "recorded": loop.recorded})
    return loop.recorded


def _offer(link: Link, text: str) -> None:
    # Between two ticks nothing may wait; a supervisor that does not read has other troubles than this line.
    link.offer({"log": text})


@contextmanager
def _sigterm_asks(abort: Abort) -> Iterator[None]:
    """SIGTERM (also the kernel's, when the supervisor dies) ends the session as soon as somebody looks."""

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        abort.ask("ended by SIGTERM")

    previous = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

"""An unpaced loop lets the writer set its pace: it loses no frame to a full ring, and waits for no dead writer."""

from __future__ import annotations

import os

import pytest

from control.board import Board
from control.clock import FakeClock
from control.episode_rules import EpisodeConfig
from control.loop import SessionLoop
from control.pacer import Pacer
from control.session_plan import SessionPlan
from control.source import Draft, Mark, Outcome
from transport.errors import OnbeatError
from transport.records import EndReason, EpisodeEnded, RecordKind
from transport.ring import LogRing
from transport.ring_layout import event_bytes
from transport.schema import Schema, Stream

SCHEMA = Schema((Stream("action", "float32", (2,)),))


class QuickSource:
    """Steps in no time at all."""

    schema, may_step_after_end, robot_type = SCHEMA, False, None

    def begin(self, draft: Draft) -> None:
        """Nothing to reset."""

    def tick(self, draft: Draft) -> Outcome:
        return Outcome(0)

    def finish(self, draft: Draft, mark: Mark) -> None:
        """No columns of the rules'."""

    def stage(self, draft: Draft) -> None:
        """Nothing is known ahead."""

    def idle(self) -> None:
        """Nothing moves between episodes."""

    def close(self) -> None:
        """Nothing is open."""


class WriterClock(FakeClock):
    """Whenever the loop sleeps, the writer makes so many more records durable.

    Attributes:
        fullest: slots in use when it looked, at most.
        ended: how the take ended, once that is read.
    """

    def __init__(self, ring: LogRing, records: int) -> None:
        super().__init__(10**9)
        self._ring, self._records = ring, records
        self.fullest, self.ended = 0, list[EpisodeEnded]()

    def sleep_until_ns(self, deadline_ns: int) -> None:
        super().sleep_until_ns(deadline_ns)
        self.fullest = max(self.fullest, self._ring.fill_slots)
        self.drain(self._records)

    def drain(self, records: int) -> None:
        ring = self._ring
        for seq in range(ring.tail_seq, min(ring.tail_seq + records, ring.head_seq + 1)):
            kind, _, _, slot = ring.read(seq)
            if kind is RecordKind.EPISODE_ENDED:
                self.ended.append(EpisodeEnded.unpack(event_bytes(slot)))
            ring.note_durable(seq)
            ring.free_to(seq + 1)


def run(ring: LogRing, clock: WriterClock) -> None:
    """One take of 500 frames in a ring for 20."""
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
    plan = SessionPlan("task", 1, EpisodeConfig(max_ticks=500))
    try:
        SessionLoop(QuickSource(), plan, ring, wake_fd, Board.create(), Pacer(0, clock), clock).run()
    finally:
        os.close(wake_fd)
        clock.drain(ring.capacity)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_a_writer_slower_than_the_source_loses_no_frame(at_once: int) -> None:
    ring = LogRing.create(SCHEMA, seconds=20, fps=1)
    clock = WriterClock(ring, at_once)
    run(ring, clock)
    (ended,) = clock.ended
    assert (ended.reason, ended.frames, ended.detail) == (EndReason.TIME_LIMIT, 500, "")
    assert clock.fullest < ring.capacity / 2, "spilling and the operator's alarms begin at a half"


def test_a_writer_that_stands_still_ends_the_session_and_the_log_keeps_the_frames() -> None:
    ring = LogRing.create(SCHEMA, seconds=20, fps=1)
    clock = WriterClock(ring, 0)
    with pytest.raises(OnbeatError, match=r"the writer stands still and 9 records wait for it"):
        run(ring, clock)
    (ended,) = clock.ended
    assert (ended.reason, ended.frames) == (EndReason.ABORTED, 8)

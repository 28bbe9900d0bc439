"""What the loop writes down of every tick, what it says once per episode, and what becomes of a late one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control.board import Board
from control.clock import FakeClock
from control.episode_rules import EpisodeConfig
from control.loop import SessionLoop
from control.overruns import MissedRule
from control.pacer import Pacer
from control.protections import Protections, Unprotected
from control.session_plan import SessionPlan
from control.source import Draft, Mark, Outcome
from transport.errors import OnbeatError
from transport.records import EndReason, EpisodeEnded, Event, Judgement, RecordKind, Verdict, unpack_event
from transport.ring import LogRing
from transport.ring_layout import event_bytes
from transport.schema import LoopFlag, Schema, Stream

MS = 1_000_000
FPS = 50  # a tick of 20 ms
SCHEMA = Schema((Stream("action", "float32", (2,)),))


class SlowSource:
    """Spends what it is told: `spend[tick]` by section in milliseconds, else 1 ms of env.step; 1 ms to stage."""

    schema, may_step_after_end, robot_type = SCHEMA, False, None

    def __init__(self, clock: FakeClock, spend: dict[int, dict[str, float]], unnamed_ms: float = 0) -> None:
        self._clock, self._spend, self._unnamed_ms = clock, spend, unnamed_ms
        self._tick = 0

    def begin(self, draft: Draft) -> None:
        self._clock.advance(5_000 * MS)
        self._tick = 0

    def tick(self, draft: Draft) -> Outcome:
        sent_ns = self._clock.now_ns()
        sections = {name: int(ms * MS) for name, ms in self._spend.get(self._tick, {"env.step": 1}).items()}
        self._clock.advance(sum(sections.values()) + int(self._unnamed_ms * MS))
        self._tick += 1
        return Outcome(sent_ns, sections_ns=sections)

    def finish(self, draft: Draft, mark: Mark) -> None:
        """No columns of the rules'."""

    def stage(self, draft: Draft) -> None:
        self._clock.advance(MS)

    def idle(self) -> None:
        """Nothing moves."""

    def close(self) -> None:
        """Nothing is open."""


class Session:
    """A session of the loop on a fake clock, and everything it left."""

    def __init__(
        self,
        spend: dict[int, dict[str, float]],
        *,
        episodes: int = 1,
        frames: int = 10,
        fps: int = FPS,
        unnamed_ms: float = 0,
        rule: MissedRule | None = None,
        protections: Protections | None = None,
    ) -> None:
        self.said: list[str] = []
        self.ring = LogRing.create(SCHEMA, seconds=20, fps=FPS)
        clock = FakeClock(1_000 * MS)
        wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        plan = SessionPlan("task", episodes, EpisodeConfig(max_ticks=frames))
        source = SlowSource(clock, spend, unnamed_ms)
        loop = SessionLoop(
            source, plan, self.ring, wake_fd, Board.create(), Pacer(fps, clock), clock,
            missed_rule=rule, protections=protections, log=self.said.append,
        )  # fmt: skip
        try:
            loop.run()
        finally:
            os.close(wake_fd)

    def records(self) -> Iterator[tuple[RecordKind, Any]]:
        for seq in range(self.ring.tail_seq, self.ring.head_seq + 1):
            kind, _, _, slot = self.ring.read(seq)
            yield kind, slot.row if kind is RecordKind.FRAME else unpack_event(kind, event_bytes(slot))

    def column(self, name: str) -> list[int]:
        return [int(row[f"onbeat.{name}"][0]) for kind, row in self.records() if kind is RecordKind.FRAME]

    def events[E: Event](self, of: type[E]) -> list[E]:
        return [event for _, event in self.records() if isinstance(event, of)]


def test_the_sections_of_every_frame_add_up() -> None:
    session = Session({3: {"policy": 2, "teleop": 3, "env.step": 4}}, unnamed_ms=0.5)
    assert session.column("policy_us") == [0, 0, 0, 2000, 0, 0, 0, 0, 0, 0]
    assert session.column("teleop_us") == [0, 0, 0, 3000, 0, 0, 0, 0, 0, 0]
    assert session.column("step_us") == [1500, 1500, 1500, 4500, *[1500] * 6], "what has no name belongs to the step"
    assert session.column("publish_us") == [0, *[1000] * 9], "since the frame before was acted on; no reset"
    assert session.column("wait_us") == [0, 17500, 17500, 17500, 9500, *[17500] * 5]
    assert session.column("ring_fill") == list(range(1, 11)), "one record more in each frame, with nobody reading"
    assert session.column("writer_lag") == list(range(1, 11))
    assert set(session.column("ring_slots")) == {session.ring.slot_count}
    assert set(session.column("loop_flags")) == {LoopFlag.PACED}
    assert session.said == []


def test_an_overrun_skips_slots_keeps_the_grid_and_is_said_once() -> None:
    session = Session({2: {"env.step": 45}, 5: {"policy": 25, "env.step": 1}, 7: {"env.step": 30}})
    assert session.column("missed_slots") == [0, 0, 0, 2, 0, 0, 1, 0, 1, 0]
    first, *_ = scheduled = session.column("scheduled_ns")
    assert [(slot - first) // (20 * MS) for slot in scheduled] == [0, 1, 2, 5, 6, 7, 9, 10, 12, 13]
    assert all((slot - first) % (20 * MS) == 0 for slot in scheduled)
    assert session.said == [
        "take 0: 4 of 14 slots missed: 3 by env.step (up to 45.0 ms of a tick of 20.0 ms), "
        "1 by policy (up to 25.0 ms of a tick of 20.0 ms)"
    ]
    (ended,) = session.events(EpisodeEnded)
    assert (ended.reason, ended.detail) == (EndReason.TIME_LIMIT, "")


def test_a_marked_episode_is_kept_and_says_why() -> None:
    session = Session({2: {"env.step": 45}}, rule=MissedRule(0.1))
    (ended,) = session.events(EpisodeEnded)
    assert ended.reason is EndReason.TIME_LIMIT
    assert ended.detail.startswith("16.7% missed, more than --timing.max_missed_fraction=0.1: 2 of 12 slots missed")
    assert session.events(Verdict) == [Verdict(0, Judgement.KEEP)]
    assert session.said == [f"take 0 marked: {ended.detail}"]


def test_a_rejected_episode_is_aborted_and_three_end_the_session() -> None:
    spend: dict[int, dict[str, float]] = {2: {"env.step": 45}}
    kept: list[Session] = []

    class Kept(Session):
        def __init__(self) -> None:
            kept.append(self)
            super().__init__(spend, rule=MissedRule(0.1, rejects=True))

    with pytest.raises(OnbeatError, match="3 episodes in a row missed more slots"):
        Kept()
    (session,) = kept
    assert [ended.reason for ended in session.events(EpisodeEnded)] == [EndReason.ABORTED] * 3
    assert [verdict.judgement for verdict in session.events(Verdict)] == [Judgement.ABORTED] * 3
    assert [line[:17] for line in session.said] == [f"take {take} rejected: "[:17] for take in range(3)]


class Watched(Unprotected):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(paced=True)
        self.flags |= LoopFlag.FIFO
        self.calls: list[str] = []

    def before_episode(self) -> None:
        self.calls.append("before")

    def episode_begins(self) -> None:
        self.calls.append("begins")
        self.flags |= LoopFlag.GC_PAUSED

    def episode_ended(self) -> None:
        self.calls.append("ended")
        self.flags &= ~LoopFlag.GC_PAUSED

    def drop_to_normal(self) -> bool:
        self.calls.append("drop")
        had = LoopFlag.FIFO in self.flags
        self.flags &= ~LoopFlag.FIFO
        return had


def test_protections_are_told_around_each_episode_and_their_state_is_recorded() -> None:
    watched = Watched()
    session = Session({}, episodes=2, protections=watched)
    assert watched.calls == ["before", "begins", "ended"] * 2
    assert set(session.column("loop_flags")) == {LoopFlag.PACED | LoopFlag.FIFO | LoopFlag.GC_PAUSED}


def test_a_loop_that_computes_all_the_time_drops_its_priority_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # The fake clock's time is spent on a fake processor: all of it.
    clocks: list[FakeClock] = []
    make: Callable[..., None] = FakeClock.__init__

    def remember(self: FakeClock, now_ns: int = 0) -> None:
        make(self, now_ns)
        clocks.append(self)

    monkeypatch.setattr(FakeClock, "__init__", remember)
    monkeypatch.setattr("control.account.time.thread_time_ns", lambda: clocks[-1].now_ns())
    watched = Watched()
    session = Session({tick: {"env.step": 17} for tick in range(200)}, frames=200, protections=watched)
    dropped = [not flags & LoopFlag.FIFO for flags in session.column("loop_flags")]
    assert dropped.index(True) == 51, "after a second of ticks over 80 %"
    assert all(dropped[51:])
    (line,) = session.said
    assert line.startswith("the step took over 80 % of the tick for a second: the loop dropped to normal scheduling")

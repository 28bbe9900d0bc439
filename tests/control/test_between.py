"""The pauses of a session in the real loop, on a fake clock: the operator's keys are pressed tick by tick."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from control.abort import Abort
from control.asked_tasks import AskedTasks
from control.board import Board, Phase
from control.clock import FakeClock
from control.episode_rules import EpisodeConfig
from control.errors import SourceError
from control.loop import SessionLoop
from control.pacer import Pacer
from control.session_plan import SessionPlan
from control.source import Draft, Mark, Outcome
from transport.link import Link
from transport.records import EpisodeBegan, Event, Judgement, RecordKind, SessionEnded, Verdict, unpack_event
from transport.ring import LogRing
from transport.ring_layout import event_bytes
from transport.schema import HWC, Kind, Schema, Stream

SCHEMA = Schema(
    (Stream("observation.state", "float32", (2,)), Stream("observation.images.a", "uint8", (4, 4, 3), Kind.VIDEO, HWC))
)
FPS, FRAMES = 50, 3


class StagedSource:
    """Its frames show which reset they came from; frame 0 is known from `begin` on, as with an environment."""

    schema, may_step_after_end, robot_type = SCHEMA, False, None

    def __init__(self, on_idle: Callable[[], None], fail_at_reset: int | None, on_reset: Callable[[int], None]) -> None:
        self._on_idle, self._fail, self._on_reset = on_idle, fail_at_reset, on_reset
        self.resets = 0
        self._tick = 0

    def begin(self, draft: Draft) -> None:
        self._on_reset(self.resets)
        self.resets += 1
        if self.resets == self._fail:
            raise SourceError("the reset failed")
        self._tick = 0
        self.stage(draft)

    def tick(self, draft: Draft) -> Outcome:
        self._tick += 1
        return Outcome(0)

    def finish(self, draft: Draft, mark: Mark) -> None:
        """No columns of the rules'."""

    def stage(self, draft: Draft) -> None:
        draft.row["observation.state"] = self.resets, self._tick
        draft.pictures[0][...] = 10 * self.resets + self._tick

    def idle(self) -> None:
        self._on_idle()

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Pressed:
    """A key pressed in the nth tick of a phase after so many takes."""

    takes: int
    phase: Phase
    tick: int
    key: str


class Session:
    """A whole session.

    Args:
        keys: what the operator does while nothing is recorded.
        while_loading: pressed before the loop begins.
        while_resetting: pressed during the source's nth reset.
    """

    def __init__(
        self,
        *keys: Pressed,
        fail_at_reset: int | None = None,
        typed: dict[int, str] | None = None,
        while_loading: Sequence[str] = (),
        while_resetting: Mapping[int, Sequence[str]] = MappingProxyType({}),
        **plan: Any,
    ):
        self.ring = LogRing.create(SCHEMA, seconds=20, fps=FPS)
        self.board, clock = Board.create(), FakeClock(10**9)
        self.said: list[str] = []
        self.phases: list[tuple[Phase, int]] = []
        self._keys, self._typed = keys, typed
        self._in_phase: tuple[Phase, int] | None = None
        self._supervisor, ours = Link.pair()
        self._abort = Abort()
        self.source = StagedSource(self._idle, fail_at_reset, lambda reset: self._press(while_resetting.get(reset, ())))
        wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.loop = SessionLoop(
            self.source,
            SessionPlan("given", **{"num_episodes": 2, "episode": EpisodeConfig(max_ticks=FRAMES), **plan}),
            self.ring, wake_fd, self.board, Pacer(FPS, clock), clock,
            asked=AskedTasks(ours), abort=self._abort, log=self.said.append,
        )  # fmt: skip
        self._press(while_loading)
        try:
            self.loop.run()
        finally:
            os.close(wake_fd)
            self._supervisor.close()
            ours.close()

    def _press(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.board.press(key)

    def _idle(self) -> None:
        figures = self.board.figures(FPS)
        now = figures.phase, figures.episode_id
        if now != self._in_phase:
            self._in_phase, self._ticks = now, 0
            self.phases.append(now)
        takes = figures.ticks // FRAMES
        for each in self._keys:
            if (each.takes, each.phase, each.tick) == (takes, now[0], self._ticks):
                self.board.press(each.key)
        if self._typed and self._ticks == 2 and now[0] is Phase.START_GATE:
            self._supervisor.send({"task": self._typed[now[1]], "take": now[1]})
        self._ticks += 1
        if self._ticks > 500:
            self._abort.ask("nothing ends this phase")

    def events[E: Event](self, of: type[E]) -> list[E]:
        found = []
        for seq in range(self.ring.tail_seq, self.ring.head_seq + 1):
            kind, _, _, slot = self.ring.read(seq)
            if kind is not RecordKind.FRAME and isinstance(event := unpack_event(kind, event_bytes(slot)), of):
                found.append(event)
        return found

    def frames(self) -> list[tuple[int, list[float], Any]]:
        found = []
        for seq in range(self.ring.tail_seq, self.ring.head_seq + 1):
            kind, episode, _, slot = self.ring.read(seq)
            if kind is RecordKind.FRAME:
                found.append((episode, slot.row["observation.state"].tolist(), np.unique(slot.pictures[0]).tolist()))
        return found


GATE, RESET, REVIEW = Phase.START_GATE, Phase.RESET_PHASE, Phase.REVIEW


def test_each_episode_waits_for_its_key_with_the_reset_done() -> None:
    session = Session(Pressed(0, GATE, 7, "start"), Pressed(1, GATE, 3, "start"), start_by_key=True)
    assert session.phases == [(GATE, 0), (GATE, 1)]
    assert session.source.resets == 2, "once for each episode"
    # Frame 0 is what the reset left, and later frames follow it, as without a gate.
    assert session.frames() == [
        (take, [take + 1, tick], [10 * (take + 1) + tick]) for take in range(2) for tick in range(FRAMES)
    ]
    assert [verdict.judgement for verdict in session.events(Verdict)] == [Judgement.KEEP] * 2


def test_a_start_in_the_reset_phase_is_enough() -> None:
    session = Session(
        Pressed(0, GATE, 0, "start"), Pressed(1, RESET, 4, "start"), start_by_key=True, reset_ticks=30
    )  # fmt: skip
    # One tick at the gate, which the operator does not notice.
    assert session.phases == [(GATE, 0), (RESET, 0), (GATE, 1)]
    assert session._ticks == 1


@pytest.mark.parametrize(
    ("where", "plan"), [(RESET, {"reset_ticks": 10}), (GATE, {"start_by_key": True})], ids=["reset phase", "gate"]
)
def test_undo_discards_the_last_take_and_the_count_is_still_reached(where: Phase, plan: dict[str, Any]) -> None:
    starts = [Pressed(take, GATE, 5, "start") for take in range(3)]
    session = Session(Pressed(1, where, 2, "undo"), Pressed(1, where, 3, "undo"), *starts, **plan)
    assert [(verdict.episode_id, verdict.judgement) for verdict in session.events(Verdict)] == [
        (0, Judgement.DISCARD), (1, Judgement.KEEP), (2, Judgement.KEEP),
    ]  # fmt: skip
    assert session.loop.recorded == 2
    assert session.said == [
        "take 0 will be discarded",
        "nothing to undo: the last take is discarded already, and what came before it is kept",
    ]


def test_nothing_to_undo_before_the_first_episode() -> None:
    session = Session(Pressed(0, GATE, 1, "undo"), Pressed(0, GATE, 2, "stop"), start_by_key=True)
    assert session.said == ["nothing to undo: no episode has been recorded since the last one was kept"]
    assert session.events(EpisodeBegan) == []
    assert session.events(SessionEnded) == [SessionEnded()]


def test_the_review_of_the_last_episode() -> None:
    keys = [Pressed(2, REVIEW, 9, "undo"), Pressed(3, REVIEW, 400, "next")]
    session = Session(*keys, review_last=True)
    assert [verdict.judgement for verdict in session.events(Verdict)] == [
        Judgement.KEEP, Judgement.DISCARD, Judgement.KEEP,
    ]  # fmt: skip
    assert session.phases == [(REVIEW, 1), (REVIEW, 2)]


def test_a_reset_that_fails_at_the_gate_keeps_what_was_recorded() -> None:
    kept: list[Session] = []

    class Kept(Session):
        def _idle(self) -> None:
            kept[:] = [self]
            super()._idle()

    with pytest.raises(SourceError, match="the reset failed"):
        Kept(Pressed(0, GATE, 0, "start"), start_by_key=True, fail_at_reset=2)
    (session,) = kept
    assert session.events(Verdict) == [Verdict(0, Judgement.KEEP)]
    assert session.events(SessionEnded) == [SessionEnded("the reset failed")]
    assert len(session.events(EpisodeBegan)) == 1


@pytest.mark.parametrize("by_key", [False, True])
def test_typed_tasks_are_waited_for(by_key: bool) -> None:
    typed = {0: "pick", 1: "lift – hoch", 2: "drop"}
    starts = [Pressed(take, GATE, 0, "start") for take in range(3)]
    session = Session(Pressed(1, GATE, 1, "undo"), *starts, typed=typed, ask_task=True, start_by_key=by_key)
    assert {event.episode_id: event.task for event in session.events(EpisodeBegan)} == typed
    assert session.loop.recorded == 2


def test_listed_tasks_go_to_the_next_take_until_one_is_kept() -> None:
    session = Session(
        Pressed(1, RESET, 1, "undo"), Pressed(3, RESET, 1, "rerecord"), num_episodes=4, reset_ticks=5,
        tasks=("pick", "place", "push"),
    )  # fmt: skip
    assert [event.task for event in session.events(EpisodeBegan)] == ["pick", "pick", "place", "place", "push", "pick"]


EARLY = ("next", "rerecord", "success", "failure", "start", "undo")


@pytest.mark.parametrize("plan", [{}, {"reset_ticks": 5}, {"start_by_key": True}], ids=["at once", "phase", "gate"])
def test_keys_pressed_while_loading_or_resetting_do_not_reach_frame_0(plan: dict[str, Any]) -> None:
    # At the gate a re-record takes the last episode back; so there is a third.
    starts = [Pressed(take, GATE, 2, "start") for take in range(3)]
    session = Session(*starts, while_loading=EARLY, while_resetting={0: EARLY, 1: EARLY}, **plan)
    assert [take for take, _, _ in session.frames()] == sorted([*range(session.source.resets)] * FRAMES)
    assert session.loop.recorded == 2


@pytest.mark.parametrize("plan", [{}, {"start_by_key": True}], ids=["at once", "gate"])
def test_a_stop_while_loading_ends_the_session_before_anything_is_reset(plan: dict[str, Any]) -> None:
    session = Session(while_loading=["stop"], **plan)
    assert (session.source.resets, session.events(EpisodeBegan), session.loop.recorded) == (0, [], 0)
    assert session.events(SessionEnded) == [SessionEnded()]


@pytest.mark.parametrize("plan", [{}, {"start_by_key": True}], ids=["at once", "gate"])
def test_a_stop_during_a_reset_records_nothing_and_keeps_what_was_recorded(plan: dict[str, Any]) -> None:
    session = Session(Pressed(0, GATE, 2, "start"), while_resetting={1: ["stop"]}, num_episodes=3, **plan)
    assert [take for take, _, _ in session.frames()] == [0] * FRAMES
    assert session.events(Verdict)[0] == Verdict(0, Judgement.KEEP)
    assert [verdict.judgement for verdict in session.events(Verdict)[1:]] in ([], [Judgement.DISCARD])
    assert session.events(SessionEnded) == [SessionEnded()]
    assert session.loop.recorded == 1

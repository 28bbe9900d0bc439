"""What the loop does while nothing is recorded: reset phase, waiting for the writer, start gate, review.

A robot follows its teleoperator all the time. The source is reset before the gate, so that the first tick follows the
start key at once; what it leaves of frame 0 waits in memory of its own until the episode has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from control.asked_tasks import AskedTasks
from control.board import Board, Phase
from control.clock import Clock
from control.episode_rules import OperatorEvents
from control.pacer import Pacer
from control.room import Room
from control.session_rules import Pause, SessionRules
from control.source import Draft, Source
from transport.records import Judgement

# Unpaced, nothing else keeps these phases from spinning.
_UNPACED_NS = 20_000_000
_NOTHING_TO_UNDO = {
    None: "nothing to undo: no episode has been recorded since the last one was kept",
    Judgement.DISCARD: "nothing to undo: the last take is discarded already, and what came before it is kept",
    Judgement.ABORTED: "an aborted take is left for `onbeat recover`, and what came before it is kept",
}


class Between:
    """One session's.

    Attributes:
        prepared: whether the source has been reset for the next episode.

    Args:
        asked: where the operator's task for the next episode comes from; None where nobody is asked.
        check: raises when the session is to be aborted.
        before_episode: called before the source is reset at the gate.
        log: one line for the operator; must not wait.
    """

    def __init__(
        self,
        source: Source,
        rules: SessionRules,
        room: Room,
        board: Board,
        pacer: Pacer,
        clock: Clock,
        *,
        asked: AskedTasks | None,
        check: Callable[[], None],
        before_episode: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._source, self._rules, self._room, self._board = source, rules, room, board
        self._pacer, self._clock = pacer, clock
        self._asked, self._check, self._before_episode, self._log = asked, check, before_episode, log
        self._draft: Draft | None = None
        self.prepared = False

    def run(self) -> None:
        """Wait until the next episode may begin, or none follows.

        Raises:
            SourceError: the source could not be reset, or its robot not be moved.
            SessionAborted: as `check` raises it.
            OnbeatError: the writer stands still.
        """
        rules = self._rules
        while (pause := rules.pause) is Pause.RESET or pause is Pause.REVIEW:
            take = rules.next_id - 1
            if pause is Pause.RESET:
                self._ticks(Phase.RESET_PHASE, take, lambda: rules.reset_tick(self._events()))
            else:
                self._ticks(Phase.REVIEW, take, lambda: rules.review_tick(self._events()))
        if rules.judgement is not None and rules.another_follows and self._is_short():
            self._ticks(Phase.WAITING_FOR_WRITER, rules.next_id, self._has_room)
        if rules.pause is Pause.GATE and rules.another_follows:
            self._prepare()
            self._ticks(Phase.START_GATE, rules.next_id, lambda: rules.gate_tick(self._events(), ready=self._ready()))
        elif rules.pause is Pause.GATE:
            rules.give_up()

    def hand_over(self, draft: Draft) -> bool:
        """Put what the source left of frame 0 into `draft`; False if it has not been reset for this episode."""
        if not self.prepared or self._draft is None:
            return False
        self.prepared = False
        draft.row[()] = self._draft.row
        for target, picture in zip(draft.pictures, self._draft.pictures, strict=True):
            np.copyto(target, picture)
        return True

    def task(self) -> str | None:
        """What the operator typed for the next episode; None where nobody is asked."""
        return None if self._asked is None else self._asked.of(self._rules.next_id)

    # -- phases --------------------------------------------------------------------------------------------------

    def _ticks(self, phase: Phase, episode_id: int, over: Callable[[], bool]) -> None:
        self._board.set_phase(phase, episode_id=episode_id, recorded=self._rules.recorded)
        self._pacer.start()
        while True:
            self._pacer.wait()
            if not self._pacer.fps:
                self._clock.sleep_until_ns(self._clock.now_ns() + _UNPACED_NS)
            self._check()
            self._source.idle()
            self._board.beat()
            before = self._rules.judgement
            is_over = over()
            if before is Judgement.KEEP and self._rules.judgement is Judgement.DISCARD:
                self._log(f"take {self._rules.next_id - 1} will be discarded")
            if is_over:
                return

    def _prepare(self) -> None:
        rules, schema = self._rules, self._source.schema
        self._board.set_phase(Phase.RESETTING, episode_id=rules.next_id, recorded=rules.recorded)
        if self._draft is None:
            pictures = [np.zeros(stream.shape, stream.dtype) for stream in schema.pictures]
            self._draft = Draft(np.zeros((), schema.row_dtype), pictures)
        self._before_episode()
        self._source.begin(self._draft)
        self.prepared = True
        # A start pressed before the reset was done did not mean this moment.
        early = replace(self._board.take_events(), start=False)
        rules.wait_tick(self._said(early))

    def _events(self) -> OperatorEvents:
        return self._said(self._board.take_events())

    def _said(self, events: OperatorEvents) -> OperatorEvents:
        if events.undo and self._rules.judgement is not Judgement.KEEP:
            self._log(_NOTHING_TO_UNDO[self._rules.judgement])
        return events

    def _ready(self) -> bool:
        return self._asked is None or self._asked.of(self._rules.next_id) is not None

    def _is_short(self) -> bool:
        return self._room.is_short(self._clock.now_ns())

    def _has_room(self) -> bool:
        self._rules.wait_tick(self._events())
        return not self._rules.another_follows or not self._is_short()

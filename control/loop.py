"""The loop: ticks on the grid, frames into the log.

Between the start of a tick and the action nothing happens but what the source does. What the loop itself adds comes
after the action: the rules, a few numbers into the row, one store that publishes the frame, one non-blocking wake-up;
and then, with the rest of the tick to spare, the source's look ahead.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from control.abort import Abort
from control.account import TimeAccount
from control.asked_tasks import AskedTasks
from control.between import Between
from control.board import Board, Phase
from control.clock import Clock
from control.episode_rules import EpisodeRules
from control.overruns import MissedRule
from control.pacer import Pacer
from control.protections import Protections, Unprotected
from control.room import Room
from control.session_plan import SessionPlan
from control.session_rules import SessionRules
from control.source import Draft, Source
from transport.errors import OnbeatError
from transport.records import EndReason, EpisodeBegan, EpisodeEnded, Event, SessionEnded, Verdict
from transport.ring import LogRing
from transport.ring_layout import Slot

# How often an unpaced loop looks whether the writer has made room.
_LOOK_NS = 1_000_000


class SessionLoop:
    """Runs one session on a source.

    Args:
        wake_fd: the publisher's eventfd.
        board: figures for the supervisor, the operator's keys.
        protections: told when an episode begins and ends.
        missed_rule: when an episode misses too many slots.
        asked: where the operator's tasks come from, if the plan asks for them.
        abort: ends the session at the next tick.
        starts: called with an episode's frame 0 as the source left it, before the first tick; may take its time.
        log: one line for the operator; must not wait.
    """

    def __init__(
        self,
        source: Source,
        plan: SessionPlan,
        ring: LogRing,
        wake_fd: int,
        board: Board,
        pacer: Pacer,
        clock: Clock,
        *,
        protections: Protections | None = None,
        missed_rule: MissedRule | None = None,
        asked: AskedTasks | None = None,
        abort: Abort | None = None,
        starts: Callable[[Draft], None] | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._source, self._plan, self._ring, self._wake_fd = source, plan, ring, wake_fd
        self._board, self._pacer, self._clock = board, pacer, clock
        self._protections = protections or Unprotected(paced=pacer.fps > 0)
        self._missed_rule = missed_rule or MissedRule()
        self._starts, self._log = starts or (lambda draft: None), log
        self._abort = abort or Abort()
        self._room = Room(ring)
        self._session = SessionRules(
            plan.num_episodes,
            plan.reset_ticks,
            gate=plan.start_by_key or plan.ask_task,
            by_key=plan.start_by_key,
            review_last=plan.review_last,
        )
        self._between = Between(
            source,
            self._session,
            self._room,
            board,
            pacer,
            clock,
            asked=asked if plan.ask_task else None,
            check=self._abort.check,
            before_episode=self._protections.before_episode,
            log=log,
        )
        self._episode_id = 0

    @property
    def recorded(self) -> int:
        """Episodes that got the verdict keep."""
        return self._session.recorded

    def run(self) -> None:
        """Record until the rules say that the session is finished.

        Raises:
            SourceError: the environment or robot failed; the running episode is aborted.
            SessionAborted: `abort` was asked.
        """
        try:
            self._heed_early_stop()
            self._between.run()
            while not self._session.finished:
                self._run_episode()
                self._heed_early_stop()
        except BaseException as error:
            self._append(SessionEnded(_one_line(error)))
            raise
        else:
            self._append(SessionEnded())
        finally:
            self._set_phase(Phase.ENDED)

    def _run_episode(self) -> None:
        session, rules = self._session, EpisodeRules(self._plan.episode)
        task = self._between.task() or self._plan.task_of(session.next_id, session.recorded)
        self._episode_id = session.begin_episode()
        if not self._between.prepared:
            self._protections.before_episode()
        self._append(EpisodeBegan(self._episode_id, task))
        account = TimeAccount(self._ring, self._clock, self._pacer.fps)
        failure: BaseException | None = None
        full = False
        reason, detail, stop = EndReason.ABORTED, "", False
        try:
            self._set_phase(Phase.RESETTING)
            slot = self._next_slot()
            draft = Draft(slot.row, slot.pictures)
            if not self._between.hand_over(draft):
                self._source.begin(draft)
            self._starts(draft)
            if self._stopped_early():
                reason, stop = EndReason.STOP, True
            else:
                self._set_phase(Phase.RECORDING)
                self._protections.episode_begins()
                try:
                    reason, stop = self._record(rules, account, slot)
                finally:
                    self._protections.episode_ended()
        except _RingFull:
            full = True
            detail = (
                f"frame {rules.frames} and all later ones are not recorded: the log ring was full, the writer away or "
                "too slow, and the spill file full, too slow or off"
            )
            self._log(f"take {self._episode_id} ended after {rules.frames} frames; {detail}")
        except BaseException as error:  # noqa: BLE001 - the episode is closed whatever happened; raised again below
            failure, detail = error, _one_line(error)
        reason, detail = self._judge_timing(account, reason, detail)
        opened = self._ring.open_episode
        frames = 0 if opened is None else opened[1]
        self._append(EpisodeEnded(self._episode_id, frames, reason, detail))
        session.episode_ended(reason, frames, stop=stop, fatal=failure is not None)
        try:
            if failure is None:
                self._missed_rule.check_progress()
                self._room.take_ended(full=full)
                self._between.run()
        except BaseException:
            session.give_up()
            raise
        finally:
            self._append(Verdict(self._episode_id, session.verdict()))
        if failure is not None:
            raise failure

    def _record(self, rules: EpisodeRules, account: TimeAccount, slot: Slot) -> tuple[EndReason, bool]:
        source, ring, board, pacer = self._source, self._ring, self._board, self._pacer
        protections, abort = self._protections, self._abort
        draft = Draft(slot.row, slot.pictures)
        pacer.start()
        account.start()
        while True:
            if account.asked():
                self._drop_priority()
            if not pacer.fps:
                self._wait_for_room()
            tick = pacer.wait()
            account.started(tick)
            if abort.reason:
                abort.check()
            outcome = source.tick(draft)
            account.acted(outcome)
            decision = rules.observe(outcome, board.take_events())
            source.finish(draft, decision.mark)
            account.fill(slot, outcome, protections.flags)
            ring.append_frame(self._episode_id, rules.frames - 1)
            os.eventfd_write(self._wake_fd, 1)
            board.record_tick(tick, rules.frames)
            if decision.ended is not None:
                return decision.ended, decision.stop
            slot = self._next_slot()
            draft = Draft(slot.row, slot.pictures)
            source.stage(draft)

    def _heed_early_stop(self) -> None:
        if self._stopped_early():
            self._session.give_up()

    def _stopped_early(self) -> bool:
        # What was pressed while things were loaded or reset did not mean a frame that nobody had seen begin.
        return self._board.take_events().stop

    def _wait_for_room(self) -> None:
        # No beat is lost by waiting where there is none, and a simulation that outruns the encoders loses no take.
        while self._room.holds_back(self._clock.now_ns()):
            self._abort.check()
            self._board.beat()
            self._clock.sleep_until_ns(self._clock.now_ns() + _LOOK_NS)

    def _drop_priority(self) -> None:
        if self._protections.drop_to_normal():
            self._log(
                "the step took over 80 % of the tick for a second: the loop dropped to normal scheduling so that the "
                "rest of the machine can work; lower --dataset.fps or make the step lighter"
            )

    def _judge_timing(self, account: TimeAccount, reason: EndReason, detail: str) -> tuple[EndReason, str]:
        """One line on the missed slots; and what the rule says about them."""
        rule, summary, word = self._missed_rule, account.overruns.summary(), ""
        if reason not in (EndReason.ABORTED, EndReason.RERECORD):
            objection = rule.objection(account.overruns)
            if objection:
                detail = f"{objection}: {summary}"
                reason, word = (EndReason.ABORTED, " rejected") if rule.rejects else (reason, " marked")
        if summary:
            self._log(f"take {self._episode_id}{word}: {detail or summary}")
        return reason, detail

    def _next_slot(self) -> Slot:
        slot = self._ring.next_slot()
        if slot is None:
            raise _RingFull
        return slot

    def _append(self, event: Event) -> None:
        if self._ring.append_event(event) is None:
            raise OnbeatError("the log ring has no room even for the end of an episode; the publisher is gone")
        os.eventfd_write(self._wake_fd, 1)

    def _set_phase(self, phase: Phase) -> None:
        self._board.set_phase(phase, episode_id=self._episode_id, recorded=self._session.recorded)


class _RingFull(Exception):
    """No slot is free for the next frame."""


def _one_line(error: BaseException) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__

"""The start gate, undo and the review of the last episode, as rules."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.episode_rules import OperatorEvents
from control.session_rules import Pause, SessionRules
from transport.records import EndReason, Judgement

QUIET, START, UNDO = OperatorEvents(), OperatorEvents(start=True), OperatorEvents(undo=True)
NEXT, RERECORD, STOP = OperatorEvents(next=True), OperatorEvents(rerecord=True), OperatorEvents(stop=True)
KEEP, DISCARD = Judgement.KEEP, Judgement.DISCARD
RESET, GATE, REVIEW = Pause.RESET, Pause.GATE, Pause.REVIEW


def tick(rules: SessionRules, operator: OperatorEvents, *, ready: bool = True) -> None:
    """One tick of whatever pause there is."""
    match rules.pause:
        case Pause.RESET:
            rules.reset_tick(operator)
        case Pause.GATE:
            rules.gate_tick(operator, ready=ready)
        case Pause.REVIEW:
            rules.review_tick(operator)
        case None:
            raise AssertionError("no pause")


def after_take(rules: SessionRules, reason: EndReason = EndReason.NEXT) -> SessionRules:
    if rules.pause is GATE:
        tick(rules, START)
    rules.begin_episode()
    rules.episode_ended(reason, 5)
    return rules


@pytest.mark.parametrize(
    ("name", "flags", "operator", "pauses", "verdict"),
    [
        ("a start ends the reset phase and opens the gate", {"gate": True, "by_key": True}, [QUIET, START, QUIET],
         [RESET, RESET, GATE], KEEP),
        ("next ends the reset phase only", {"gate": True, "by_key": True}, [NEXT, NEXT, QUIET, START],
         [RESET, GATE, GATE, GATE], KEEP),
        ("the reset phase is over by itself, the gate is not", {"gate": True, "by_key": True}, [*[QUIET] * 9, START],
         [*[RESET] * 4, *[GATE] * 6], KEEP),
        ("undo in the reset phase ends nothing", {}, [QUIET, UNDO, QUIET, QUIET], [RESET] * 4, DISCARD),
        ("re-record ends it", {}, [QUIET, RERECORD], [RESET] * 2, DISCARD),
        ("undo at the gate", {"gate": True, "by_key": True}, [NEXT, QUIET, UNDO, QUIET, START],
         [RESET, *[GATE] * 4], DISCARD),
        ("re-record at the gate waits too", {"gate": True, "by_key": True}, [NEXT, RERECORD, QUIET, START],
         [RESET, *[GATE] * 3], DISCARD),
        ("stop at the gate keeps", {"gate": True, "by_key": True}, [NEXT, STOP], [RESET, GATE], KEEP),
        ("a gate without a key opens when all is ready", {"gate": True}, [NEXT, QUIET], [RESET, GATE], KEEP),
        ("undo and stop", {}, [UNDO, STOP], [RESET] * 2, DISCARD),
    ],
)  # fmt: skip
def test_between_two_episodes(name, flags, operator, pauses, verdict):
    rules = after_take(SessionRules(3, 4, **flags))
    seen = []
    for each in operator:
        seen.append(rules.pause)
        tick(rules, each)
    assert seen == pauses
    assert rules.pause is None
    assert rules.verdict() is verdict


def test_a_start_pressed_before_all_is_ready_counts_when_it_is() -> None:
    rules = SessionRules(1, 0, gate=True, by_key=True)
    assert not rules.gate_tick(START, ready=False)
    assert rules.gate_tick(QUIET, ready=True)
    assert rules.begin_episode() == 0


def test_the_first_gate_can_be_left_by_a_stop() -> None:
    rules = SessionRules(2, 4, gate=True, by_key=True)
    assert rules.pause is GATE
    assert rules.judgement is None
    tick(rules, UNDO)
    tick(rules, STOP)
    assert rules.finished


def test_each_start_opens_one_gate() -> None:
    rules = after_take(SessionRules(3, 0, gate=True, by_key=True))
    for _ in range(3):
        tick(rules, QUIET)
    assert rules.pause is GATE


def test_the_last_episode_is_final_without_a_review() -> None:
    rules = after_take(SessionRules(1, 4, gate=True, by_key=True))
    assert rules.pause is None
    assert rules.verdict() is KEEP
    assert rules.finished


@pytest.mark.parametrize("end", [START, NEXT, STOP])
def test_the_review_ends_with_the_operator(end: OperatorEvents) -> None:
    rules = after_take(SessionRules(1, 4, review_last=True))
    for _ in range(9):
        tick(rules, QUIET)
        assert rules.pause is REVIEW
    tick(rules, end)
    assert rules.verdict() is KEEP
    assert rules.finished


@pytest.mark.parametrize("undo", [UNDO, RERECORD, OperatorEvents(undo=True, start=True)])
def test_an_episode_discarded_in_the_review_is_recorded_again(undo: OperatorEvents) -> None:
    rules = after_take(SessionRules(1, 2, gate=True, by_key=True, review_last=True))
    seen = []
    for each in (undo, QUIET, QUIET, QUIET, START):
        seen.append(rules.pause)
        tick(rules, each)
    assert seen == [REVIEW, RESET, RESET, GATE, GATE]
    assert rules.verdict() is DISCARD
    rules.begin_episode()
    rules.episode_ended(EndReason.NEXT, 5)
    tick(rules, START)
    assert rules.verdict() is KEEP
    assert rules.finished


def test_an_aborted_episode_cannot_be_undone() -> None:
    rules = after_take(SessionRules(2, 4), EndReason.ABORTED)
    tick(rules, UNDO)
    assert rules.judgement is Judgement.ABORTED


def test_undo_while_the_session_waits_for_something_else() -> None:
    rules = after_take(SessionRules(3, 0))
    assert rules.pause is None
    rules.wait_tick(QUIET)
    assert rules.judgement is KEEP
    rules.wait_tick(UNDO)
    assert rules.another_follows
    assert rules.verdict() is DISCARD


@pytest.mark.parametrize("gate", [False, True])
def test_giving_up_keeps_what_ended_in_order(gate: bool) -> None:
    rules = SessionRules(3, 4, gate=gate)
    rules.give_up()
    assert rules.finished
    rules = after_take(SessionRules(3, 4, gate=gate, by_key=gate))
    rules.give_up()
    assert rules.verdict() is KEEP
    assert rules.finished


keys = st.builds(
    OperatorEvents, **{name: st.booleans() for name in ("next", "rerecord", "stop", "success", "start", "undo")}
)


class AnyOperator(RuleBasedStateMachine):
    """Whatever is pressed whenever: one verdict each, never too many kept, and a gate that opens only when it may."""

    @initialize(gate=st.booleans(), by_key=st.booleans(), review=st.booleans(), reset=st.integers(0, 2))
    def begin_session(self, gate: bool, by_key: bool, review: bool, reset: int) -> None:
        self.rules = SessionRules(2, reset, gate=gate, by_key=by_key, review_last=review)
        self.gated, self.by_key, self.review = gate, by_key, review
        self.running = self.pending = self.started = self.ready = self.reviewed = self.wants_undo = False
        self.kept = self.begun = self.decided = 0

    @precondition(lambda self: self.rules.pause is not None)
    @rule(operator=keys, ready=st.booleans())
    def wait(self, operator: OperatorEvents, ready: bool) -> None:
        self.started |= operator.start
        self.ready = ready or self.ready
        self.wants_undo |= self.pending and (operator.undo or operator.rerecord)
        reviewing = self.rules.pause is Pause.REVIEW
        self.reviewed |= reviewing
        tick(self.rules, operator, ready=ready)
        if reviewing and self.rules.pause is not Pause.REVIEW:
            self.started = False

    @precondition(lambda self: self.rules.pause is None and not self.running and not self.pending)
    @precondition(lambda self: not self.rules.finished)
    @rule(reason=st.sampled_from(EndReason), frames=st.integers(0, 2))
    def record(self, reason: EndReason, frames: int) -> None:
        if self.gated:
            assert self.ready
            assert self.started or not self.by_key
        assert self.rules.begin_episode() == self.begun
        self.begun += 1
        self.rules.episode_ended(reason, frames)
        self.pending, self.started, self.ready, self.reviewed, self.wants_undo = True, False, False, False, False

    @precondition(lambda self: self.pending and self.rules.pause is None)
    @rule()
    def decide(self) -> None:
        judgement = self.rules.judgement
        assert self.rules.verdict() is judgement
        assert not (judgement is KEEP and self.wants_undo)
        self.kept += judgement is KEEP
        self.decided += 1
        self.pending = False
        if self.review and self.rules.finished and not self.rules.stopped:
            assert self.reviewed, "the last episode was final before the operator said so"

    @precondition(lambda self: self.rules.finished)
    @rule()
    def nothing_follows(self) -> None:
        with pytest.raises(RuntimeError, match="after the session finished"):
            self.rules.begin_episode()

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "rules"):
            assert self.rules.recorded == self.kept <= 2
            assert self.rules.finished == (not self.pending and self.rules.pause is None
                                           and (self.rules.stopped or self.kept == 2))  # fmt: skip


TestAnyOperator = AnyOperator.TestCase
TestAnyOperator.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from control.episode_rules import OperatorEvents
from control.session_rules import Pause, SessionRules
from transport.errors import UsageError
from transport.records import EndReason, Judgement

QUIET = OperatorEvents()
NEXT = OperatorEvents(next=True)
RERECORD = OperatorEvents(rerecord=True)
STOP = OperatorEvents(stop=True)
KEEP, DISCARD, ABORTED = Judgement.KEEP, Judgement.DISCARD, Judgement.ABORTED

# One episode of a script: why it ended, and what the operator does in each tick of its reset phase, if there is one.
Episode = tuple[EndReason, list[OperatorEvents]]


def run(session: SessionRules, script: list[Episode], frames: int = 5) -> list[tuple[Judgement, int | None]]:
    """Play episodes; for each the verdict and the ticks of its reset phase (None: there was none)."""
    played = []
    for reason, reset in script:
        session.begin_episode()
        session.episode_ended(reason, frames)
        if session.pause is Pause.RESET:
            ticks = 1
            for operator in reset:
                if session.reset_tick(operator):
                    break
                ticks += 1
            else:
                while not session.reset_tick(QUIET):
                    ticks += 1
            played.append((session.verdict(), ticks))
        else:
            played.append((session.verdict(), None))
    return played


@pytest.mark.parametrize(
    ("name", "num_episodes", "script", "expected", "recorded"),
    [
        ("resets between, none after the last", 2, [(EndReason.SUCCESS, []), (EndReason.SUCCESS, [])],
         [(KEEP, 4), (KEEP, None)], 2),
        ("one episode has no reset", 1, [(EndReason.TIME_LIMIT, [])], [(KEEP, None)], 1),
        ("re-record in the episode is followed by a reset", 1, [(EndReason.RERECORD, []), (EndReason.NEXT, [])],
         [(DISCARD, 4), (KEEP, None)], 1),
        ("re-record of the last one is followed by a reset", 2,
         [(EndReason.NEXT, []), (EndReason.RERECORD, []), (EndReason.NEXT, [])],
         [(KEEP, 4), (DISCARD, 4), (KEEP, None)], 2),
        ("re-record in the reset", 2, [(EndReason.NEXT, [QUIET, RERECORD]), (EndReason.NEXT, []), (EndReason.NEXT, [])],
         [(DISCARD, 2), (KEEP, 4), (KEEP, None)], 2),
        ("next in the reset", 2, [(EndReason.NEXT, [NEXT]), (EndReason.NEXT, [])], [(KEEP, 1), (KEEP, None)], 2),
        ("stop in the episode", 3, [(EndReason.STOP, [])], [(KEEP, None)], 1),
        ("stop in the reset keeps", 3, [(EndReason.NEXT, [QUIET, QUIET, STOP])], [(KEEP, 3)], 1),
        ("stop in the reset of a re-recorded one", 3, [(EndReason.RERECORD, [STOP])], [(DISCARD, 1)], 0),
        ("stop and re-record in one tick of the reset", 3,
         [(EndReason.NEXT, [OperatorEvents(rerecord=True, stop=True)])], [(DISCARD, 1)], 0),
        ("next and re-record in one tick of the reset", 1,
         [(EndReason.RERECORD, [OperatorEvents(rerecord=True, next=True)]), (EndReason.NEXT, [])],
         [(DISCARD, 1), (KEEP, None)], 1),
        ("a failure is kept", 1, [(EndReason.FAILURE, [])], [(KEEP, None)], 1),
        ("success and failure keys mean nothing in the reset", 2,
         [(EndReason.NEXT, [OperatorEvents(success=True, failure=True)]), (EndReason.NEXT, [])],
         [(KEEP, 4), (KEEP, None)], 2),
        ("an abort does not count", 1, [(EndReason.ABORTED, []), (EndReason.NEXT, [])],
         [(ABORTED, 4), (KEEP, None)], 1),
        ("re-record after an abort destroys nothing", 1, [(EndReason.ABORTED, [RERECORD]), (EndReason.NEXT, [])],
         [(ABORTED, 1), (KEEP, None)], 1),
    ],
)  # fmt: skip
def test_table(
    name: str, num_episodes: int, script: list[Episode], expected: list[tuple[Judgement, int | None]], recorded: int
) -> None:
    session = SessionRules(num_episodes, reset_ticks=4)
    assert run(session, script) == expected
    assert session.recorded == recorded
    assert session.finished


def test_ids_count_every_episode() -> None:
    session = SessionRules(2, reset_ticks=0)
    ids = []
    for reason in (EndReason.NEXT, EndReason.RERECORD, EndReason.ABORTED, EndReason.NEXT):
        ids.append(session.begin_episode())
        session.episode_ended(reason, 3)
        assert session.pause is None
        session.verdict()
    assert ids == [0, 1, 2, 3]
    assert session.finished


@pytest.mark.parametrize("reason", list(EndReason))
def test_an_episode_without_frames_is_discarded_and_does_not_count(reason: EndReason) -> None:
    session = SessionRules(1, reset_ticks=2)
    assert run(session, [(reason, [])], frames=0)[0][0] is DISCARD
    assert session.recorded == 0
    assert session.finished is (reason is EndReason.STOP)


@pytest.mark.parametrize("reason", [EndReason.SUCCESS, EndReason.FAILURE, EndReason.TERMINATED, EndReason.RERECORD])
def test_a_stop_beside_another_reason_ends_the_session_without_a_reset(reason: EndReason) -> None:
    session = SessionRules(5, reset_ticks=4)
    session.begin_episode()
    session.episode_ended(reason, 7, stop=True)
    assert session.pause is None
    assert not session.finished, "the episode has no verdict yet"
    assert session.verdict() is (DISCARD if reason is EndReason.RERECORD else KEEP)
    assert session.finished
    assert session.stopped


@pytest.mark.parametrize(("fatal", "finished"), [(True, True), (False, False)])
def test_an_abort_ends_the_session_only_if_it_is_fatal(fatal: bool, finished: bool) -> None:
    session = SessionRules(5, reset_ticks=4)
    session.begin_episode()
    session.episode_ended(EndReason.ABORTED, 7, fatal=fatal)
    assert session.pause is (None if fatal else Pause.RESET)
    if not fatal:
        assert session.reset_tick(NEXT)
    assert session.verdict() is ABORTED
    assert session.finished is finished
    assert session.recorded == 0


def test_no_reset_phase_of_zero_ticks() -> None:
    session = SessionRules(2, reset_ticks=0)
    session.begin_episode()
    session.episode_ended(EndReason.NEXT, 1)
    assert session.pause is None
    assert session.verdict() is KEEP
    assert not session.finished


def test_calls_out_of_order_are_mistakes_of_the_caller() -> None:
    session = SessionRules(1, reset_ticks=1)
    for call in (lambda: session.reset_tick(QUIET), session.verdict, lambda: session.episode_ended(EndReason.NEXT, 1)):
        with pytest.raises(RuntimeError, match="READY found, expected"):
            call()
    session.begin_episode()
    with pytest.raises(RuntimeError, match="EPISODE found, expected READY"):
        session.begin_episode()
    session.episode_ended(EndReason.RERECORD, 1)
    with pytest.raises(RuntimeError, match="RESET found, expected UNDECIDED"):
        session.verdict()
    assert session.reset_tick(QUIET)
    session.verdict()
    with pytest.raises(RuntimeError, match="READY found, expected UNDECIDED"):
        session.verdict()
    run(session, [(EndReason.NEXT, [])])
    with pytest.raises(RuntimeError, match="after the session finished"):
        session.begin_episode()


@pytest.mark.parametrize(("num_episodes", "reset_ticks"), [(-1, 0), (1, -1)])
def test_out_of_range(num_episodes: int, reset_ticks: int) -> None:
    with pytest.raises(UsageError, match="expected at least 0"):
        SessionRules(num_episodes, reset_ticks)


def test_no_episodes_wanted_is_finished_at_once() -> None:
    assert SessionRules(0, 10).finished


keys = st.builds(OperatorEvents, **{name: st.booleans() for name in ("next", "rerecord", "stop", "success", "failure")})


class AnySession(RuleBasedStateMachine):
    """Any order of legal calls: every episode begun gets exactly one verdict, and no more are kept than wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.num_episodes = 3
        self.session = SessionRules(self.num_episodes, reset_ticks=3)
        self.state = "ready"
        self.reset_ticks = 0
        self.begun: list[int] = []
        self.verdicts: list[Judgement] = []
        self.ended: list[tuple[EndReason, int]] = []
        self.must_stop = False

    @precondition(lambda self: self.state == "ready" and not self.session.finished)
    @rule()
    def begin(self) -> None:
        self.begun.append(self.session.begin_episode())
        self.state = "episode"

    @precondition(lambda self: self.session.finished)
    @rule()
    def nothing_begins_after_the_end(self) -> None:
        with pytest.raises(RuntimeError, match="after the session finished"):
            self.session.begin_episode()

    @precondition(lambda self: self.state == "episode")
    @rule(reason=st.sampled_from(EndReason), frames=st.integers(0, 3), stop=st.booleans(), fatal=st.booleans())
    def end(self, reason: EndReason, frames: int, stop: bool, fatal: bool) -> None:
        self.session.episode_ended(reason, frames, stop=stop and frames > 1, fatal=fatal and frames > 2)
        has_reset = self.session.pause is Pause.RESET
        self.must_stop |= reason is EndReason.STOP or (stop and frames > 1) or (fatal and frames > 2)
        self.ended.append((reason, frames))
        assert not (has_reset and self.must_stop)
        self.state = "reset" if has_reset else "undecided"
        self.reset_ticks = 0

    @precondition(lambda self: self.state == "reset")
    @rule(operator=keys)
    def reset(self, operator: OperatorEvents) -> None:
        self.reset_ticks += 1
        over = self.session.reset_tick(operator)
        self.must_stop |= operator.stop
        assert over == (operator.next or operator.rerecord or operator.stop or self.reset_ticks == 3)
        if over:
            self.state = "undecided"

    @precondition(lambda self: self.state == "undecided")
    @rule()
    def decide(self) -> None:
        self.verdicts.append(self.session.verdict())
        self.state = "ready"

    @invariant()
    def every_episode_has_one_verdict(self) -> None:
        assert self.begun == list(range(len(self.begun)))
        assert len(self.begun) - len(self.verdicts) == (0 if self.state == "ready" else 1)

    @invariant()
    def what_is_kept(self) -> None:
        assert self.session.recorded == self.verdicts.count(KEEP) <= self.num_episodes
        for verdict, (reason, frames) in zip(self.verdicts, self.ended, strict=False):
            if frames == 0 or reason is EndReason.RERECORD:
                assert verdict is DISCARD
            elif reason is EndReason.ABORTED:
                assert verdict is ABORTED
            else:
                assert verdict in (KEEP, DISCARD)

    @invariant()
    def finished_means_enough_or_stopped(self) -> None:
        over = self.must_stop or self.session.recorded == self.num_episodes
        assert self.session.finished == (self.state == "ready" and over)


TestAnySession = AnySession.TestCase
TestAnySession.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.episode_rules import Decision, EpisodeConfig, EpisodeRules, OperatorEvents
from control.source import Mark, Outcome
from transport.errors import UsageError
from transport.records import EndReason

QUIET = OperatorEvents()
Row = Outcome | tuple[Outcome, OperatorEvents]


def env(**what: object) -> Outcome:
    return Outcome(action_sent_ns=0, **what)  # type: ignore[arg-type]


def keys(**what: bool) -> tuple[Outcome, OperatorEvents]:
    return env(), OperatorEvents(**what)


def play(config: EpisodeConfig, rows: list[Row]) -> tuple[list[Decision], EpisodeRules]:
    """Feed rows until the rules end the episode; the rows after that are not fed."""
    rules = EpisodeRules(config)
    decisions: list[Decision] = []
    for row in rows:
        outcome, operator = row if isinstance(row, tuple) else (row, QUIET)
        decisions.append(rules.observe(outcome, operator))
        if decisions[-1].ended is not None:
            break
    return decisions, rules


@dataclass(frozen=True)
class Case:
    name: str
    rows: list[Row]
    ended: EndReason | None
    rewards: list[float]
    config: EpisodeConfig = field(default_factory=lambda: EpisodeConfig(max_ticks=20))
    stop: bool = False


def config(**what: object) -> EpisodeConfig:
    return EpisodeConfig(**{"max_ticks": 20, **what})  # type: ignore[arg-type]


GO = env()
SUCCESS = env(success=True)
CASES = [
    Case("goes on", [GO, GO], None, [0, 0]),
    Case("reward passes through", [env(reward=0.25), env(reward=-1.5)], None, [0.25, -1.5]),
    # Success and padding.
    Case("success, N = 1", [GO, SUCCESS, GO], EndReason.SUCCESS, [0, 1]),
    Case("success, N = 0 is 1", [SUCCESS, GO], EndReason.SUCCESS, [1], config(steps_after_success=0)),
    Case("success, N = 3", [GO, SUCCESS, *[GO] * 9], EndReason.SUCCESS, [0, 1, 1, 1], config(steps_after_success=3)),
    Case("success, N = 15", [SUCCESS, *[GO] * 20], EndReason.SUCCESS, [1] * 15, config(steps_after_success=15)),
    Case(
        "rewards of the padding are 1.0 whatever the env says",
        [env(success=True, reward=0.3), env(reward=-1.0), env(reward=0.5)],
        EndReason.SUCCESS,
        [1, 1, 1],
        config(steps_after_success=3),
    ),
    Case("success said again does not restart the count", [SUCCESS] * 9, EndReason.SUCCESS, [1] * 3,
         config(steps_after_success=3)),
    Case("success by the operator", [GO, keys(success=True), GO], EndReason.SUCCESS, [0, 1]),
    Case("success by the operator, N = 2", [keys(success=True), GO], EndReason.SUCCESS, [1, 1],
         config(steps_after_success=2)),
    Case("reward 1.0 is no success by itself", [env(reward=1.0), GO], None, [1, 0]),
    Case("success_reward", [env(reward=0.5), env(reward=1.0)], EndReason.SUCCESS, [0.5, 1], config(success_reward=1.0)),
    Case("success_reward is an exact value", [env(reward=2.0)], None, [2], config(success_reward=1.0)),
    Case("success_reward other than 1", [env(reward=10.0)], EndReason.SUCCESS, [1], config(success_reward=10.0)),
    Case("reward 0 is a success if the user says so", [env(reward=0.0)], EndReason.SUCCESS, [1],
         config(success_reward=0.0)),
    # The environment's own end.
    Case("terminated", [GO, env(terminated=True), GO], EndReason.TERMINATED, [0, 0]),
    Case("truncated", [GO, env(truncated=True), GO], EndReason.TRUNCATED, [0, 0]),
    Case("terminated and truncated", [env(terminated=True, truncated=True)], EndReason.TERMINATED, [0]),
    Case("success in the terminal step", [env(success=True, terminated=True)], EndReason.SUCCESS, [1]),
    Case("terminated while padding", [SUCCESS, GO, env(terminated=True), GO], EndReason.SUCCESS, [1, 1, 1],
         config(steps_after_success=15)),
    Case("truncated while padding", [SUCCESS, env(truncated=True), GO], EndReason.SUCCESS, [1, 1],
         config(steps_after_success=15)),
    Case(
        "padding past the end where the source says that it may",
        [env(success=True, terminated=True), env(terminated=True), env(truncated=True), env(terminated=True)],
        EndReason.SUCCESS,
        [1, 1, 1],
        config(steps_after_success=3, may_step_after_end=True),
    ),
    Case("may_step_after_end without success", [GO, env(terminated=True), GO], EndReason.TERMINATED, [0, 0],
         config(steps_after_success=3, may_step_after_end=True)),
    # The time limit.
    Case("time limit", [GO] * 9, EndReason.TIME_LIMIT, [0] * 4, config(max_ticks=4)),
    Case("time limit of one row", [GO] * 9, EndReason.TIME_LIMIT, [0], config(max_ticks=1)),
    Case("no time limit", [GO] * 500, None, [0] * 500, config(max_ticks=None)),
    Case("success in the last row", [GO, SUCCESS, GO], EndReason.SUCCESS, [0, 1],
         config(max_ticks=2, steps_after_success=15)),
    Case("time limit while padding", [SUCCESS, GO, GO, GO], EndReason.SUCCESS, [1, 1, 1],
         config(max_ticks=3, steps_after_success=15)),
    Case("terminated in the last row", [GO, env(terminated=True)], EndReason.TERMINATED, [0, 0], config(max_ticks=2)),
    Case("next in the last row", [GO, keys(next=True)], EndReason.NEXT, [0, 0], config(max_ticks=2)),
    # The operator.
    Case("next", [GO, keys(next=True), GO], EndReason.NEXT, [0, 0]),
    Case("next while padding", [SUCCESS, keys(next=True)], EndReason.NEXT, [1, 1], config(steps_after_success=15)),
    Case("stop", [GO, keys(stop=True), GO], EndReason.STOP, [0, 0], stop=True),
    Case("stop of a teleoperator", [env(stop=True)], EndReason.STOP, [0], stop=True),
    Case("stop while padding", [SUCCESS, keys(stop=True)], EndReason.STOP, [1, 1], config(steps_after_success=15),
         stop=True),
    Case("stop and next", [keys(stop=True, next=True)], EndReason.STOP, [0], stop=True),
    Case("stop and success", [keys(stop=True, success=True)], EndReason.SUCCESS, [1], stop=True),
    Case("stop and terminated", [(env(terminated=True), OperatorEvents(stop=True))], EndReason.TERMINATED, [0],
         stop=True),
    Case("failure by the operator", [GO, keys(failure=True), GO], EndReason.FAILURE, [0, 0]),
    Case("failure by the environment", [env(failure=True, reward=-2.0)], EndReason.FAILURE, [-2]),
    Case("failure while padding", [SUCCESS, keys(failure=True)], EndReason.FAILURE, [1, 1],
         config(steps_after_success=15)),
    Case("failure beats a success of the same tick", [env(success=True, failure=True)], EndReason.FAILURE, [0]),
    Case("failure beats terminated", [env(failure=True, terminated=True)], EndReason.FAILURE, [0]),
    Case("failure and stop", [keys(failure=True, stop=True)], EndReason.FAILURE, [0], stop=True),
    Case("re-record by the operator", [GO, keys(rerecord=True), GO], EndReason.RERECORD, [0, 0]),
    Case("re-record by the environment", [env(rerecord=True)], EndReason.RERECORD, [0]),
    Case("re-record while padding", [SUCCESS, keys(rerecord=True)], EndReason.RERECORD, [1, 1],
         config(steps_after_success=15)),
    Case("re-record beats everything", [(env(rerecord=True, success=True, failure=True, terminated=True),
         OperatorEvents(next=True, stop=True))], EndReason.RERECORD, [0], stop=True),
    # An intervention changes who acted, not what the rules say.
    Case("intervention", [env(is_intervention=True), env(is_intervention=True, reward=0.5)], None, [0, 0.5]),
    Case("intervention that succeeds", [env(is_intervention=True, success=True)], EndReason.SUCCESS, [1]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_table(case: Case) -> None:
    decisions, rules = play(case.config, case.rows)
    assert [d.mark.reward for d in decisions] == case.rewards
    assert [d.ended for d in decisions] == [None] * (len(decisions) - 1) + [case.ended]
    last_is_done = case.ended not in (None, EndReason.RERECORD)
    assert [d.mark.done for d in decisions] == [False] * (len(decisions) - 1) + [last_is_done]
    assert decisions[-1].stop is case.stop
    assert rules.frames == len(case.rewards)
    assert rules.ended == case.ended


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_an_abort_marks_nothing_and_ends_the_episode() -> None:
    rules = EpisodeRules(config())
    assert rules.observe(env(reward=0.5), QUIET) == Decision(Mark(0.5, False))
    assert rules.abort() is EndReason.ABORTED
    assert rules.frames == 1
    with pytest.raises(RuntimeError, match="after the episode ended"):
        rules.observe(env(), QUIET)
    with pytest.raises(RuntimeError, match="after the episode ended"):
        rules.abort()


def test_a_row_after_the_end_is_a_mistake_of_the_caller() -> None:
    _, rules = play(config(), [SUCCESS])
    with pytest.raises(RuntimeError, match=r"after the episode ended \(success\)"):
        rules.observe(env(), QUIET)


@pytest.mark.parametrize("wrong", [{"max_ticks": 0}, {"max_ticks": -3}, {"steps_after_success": -1}])
def test_config_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="found, expected"):
        config(**wrong)


rare = st.sampled_from([False] * 9 + [True])
outcomes = st.builds(
    Outcome,
    action_sent_ns=st.just(0),
    reward=st.sampled_from([0.0, 0.5, 1.0, -1.0]),
    terminated=rare,
    truncated=rare,
    success=rare,
    failure=rare,
    rerecord=rare,
    stop=rare,
    is_intervention=st.booleans(),
)
operators = st.builds(OperatorEvents, next=rare, rerecord=rare, stop=rare, success=rare, failure=rare)
configs = st.builds(
    EpisodeConfig,
    max_ticks=st.one_of(st.none(), st.integers(1, 25)),
    steps_after_success=st.integers(0, 16),
    success_reward=st.sampled_from([None, 1.0]),
    may_step_after_end=st.booleans(),
)


@given(configs, st.lists(st.tuples(outcomes, operators), min_size=1, max_size=40), st.booleans())
def test_what_holds_for_every_episode(
    config: EpisodeConfig, rows: list[tuple[Outcome, OperatorEvents]], aborts: bool
) -> None:
    decisions, rules = play(config, list(rows))
    fed = rows[: len(decisions)]
    ended = decisions[-1].ended
    if ended is None and aborts:
        assert rules.abort() is EndReason.ABORTED

    # The frames counted are the rows observed, never beyond the time limit.
    assert rules.frames == len(decisions) <= (config.max_ticks or len(rows))
    # At most one row is done: the last one, when the episode ended by anything but a re-record.
    done = [index for index, decision in enumerate(decisions) if decision.mark.done]
    assert done == ([len(decisions) - 1] if ended not in (None, EndReason.RERECORD) else [])
    # Rewards are the environment's up to the detection of success and 1.0 from there on.
    detected = next(
        (
            index
            for index, (outcome, operator) in enumerate(fed)
            if (outcome.success or operator.success or outcome.reward == config.success_reward)
            and not (outcome.failure or operator.failure or outcome.rerecord or operator.rerecord)
        ),
        len(fed),
    )
    expected = [outcome.reward for outcome, _ in fed[:detected]] + [1.0] * (len(fed) - detected)
    assert [decision.mark.reward for decision in decisions] == expected
    # Never more padding than asked for; exactly as much when nothing cut it short.
    padding = len(fed) - detected
    wanted = max(1, config.steps_after_success)
    assert padding <= wanted
    if ended is EndReason.SUCCESS:
        outcome = fed[-1][0]
        cut = (outcome.terminated or outcome.truncated) and not config.may_step_after_end
        assert padding == wanted or cut or len(fed) == config.max_ticks
    # A stop is never lost.
    assert [d.stop for d in decisions] == [outcome.stop or operator.stop for outcome, operator in fed]
    if any(d.stop for d in decisions):
        assert decisions[-1].stop

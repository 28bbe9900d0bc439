"""A gymnasium environment as a source: what is in the rows, who acts, and what passes through."""

from __future__ import annotations

from enum import Enum
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gym_cases import Box, Counting, Ramp, Script, act, actions, draft_of, play, source_of
from gymnasium import spaces

from control.clock import FakeClock
from control.episode_rules import EpisodeConfig, EpisodeRules, OperatorEvents
from control.errors import EnvironmentRefused, SourceError
from control.gym_make import make_env
from control.source import Mark
from control.teleoperator import TeleopAction
from transport.schema import Stream


def test_the_columns_of_the_seed() -> None:
    assert source_of(Counting()).schema.streams == (
        Stream("observation.state", "float32", (2,)),
        *source_of(Counting()).schema.pictures,
        Stream("action", "float32", (3,), names=("delta_x_ee", "delta_y_ee", "delta_z_ee")),
        Stream("next.reward", "float32", (1,)),
        Stream("next.done", "bool", (1,)),
        Stream("complementary_info.discrete_penalty", "float32", (1,), names=("discrete_penalty",)),
    )
    assert [stream.key for stream in source_of(Counting(), fill_seed_columns=False).schema.streams] == [
        "observation.state",
        "observation.image",
        "action",
    ]


def test_a_row_holds_o_t_a_t_and_what_came_after_it() -> None:
    env = Counting(info=lambda step: {"discrete_penalty": -step / 10})
    drafts, outcomes = play(source_of(env), 5)
    for t, (draft, outcome) in enumerate(zip(drafts, outcomes, strict=True)):
        # The environment reuses its buffers: without the copy in time every row would hold the last step's number.
        assert draft.row["observation.state"].tolist() == [t, t]
        assert np.unique(draft.pictures[0]).tolist() == [t]
        assert draft.row["action"].tolist() == [t + 0.5] * 3
        assert outcome.reward == (t + 1) / 100
        assert draft.row["complementary_info.discrete_penalty"] == np.float32(-(t + 1) / 10)
    assert [taken.tolist() for taken in env.taken] == actions(drafts), "the recorded action is the one that acted"


def test_marks_are_filled() -> None:
    drafts, _ = play(source_of(Counting()), 2, Mark(1.0, True))
    assert [draft.row["next.reward"].item() for draft in drafts] == [1.0, 1.0]
    assert [draft.row["next.done"].item() for draft in drafts] == [True, True]
    drafts, _ = play(source_of(Counting(), fill_seed_columns=False), 2, Mark(1.0, True))
    assert "next.reward" not in (drafts[0].row.dtype.names or ())


def test_a_second_episode_starts_afresh() -> None:
    env, policy = Counting(), Ramp()
    teleoperator = Script([TeleopAction()])
    source = source_of(env, policy=policy, teleoperator=teleoperator, seed=7)
    play(source, 3)
    drafts, _ = play(source, 3)
    assert [draft.row["observation.state"][0] for draft in drafts] == [0, 1, 2]
    assert [np.unique(draft.pictures[0]).tolist() for draft in drafts] == [[0], [1], [2]]
    assert actions(drafts)[0] == [0.5] * 3
    assert env.seeds == [7, None]
    assert policy.resets == teleoperator.resets == 2


class StepClock(FakeClock):
    """Moves on by 1 microsecond at every look, so that the order of looks can be told."""

    def now_ns(self) -> int:
        self.advance(1000)
        return super().now_ns()


def test_times_of_a_tick() -> None:
    clock = StepClock()

    class Slow(Counting):
        def step(self, action: Any) -> Any:
            self.began_ns = clock.now_ns()
            clock.advance(5_000_000)
            return super().step(action)

    env = Slow()
    source = source_of(env, clock=clock, teleoperator=Script([TeleopAction()]), policy=Ramp())
    _, (outcome,) = play(source, 1)
    assert env.began_ns == outcome.action_sent_ns + 1000
    assert outcome.sections_ns["env.step"] == 5_002_000
    assert set(outcome.sections_ns) == {"policy", "teleop", "env.step"}


def test_the_teleoperator_acts_and_its_events_come_through() -> None:
    teleoperator = Script(
        [act(1), act(2, success=True), act(3, failure=True), act(4, rerecord=True), act(5, stop=True)]
    )
    env = Counting(info=lambda step: {"step": step})
    drafts, outcomes = play(source_of(env, teleoperator=teleoperator), 5)
    assert actions(drafts) == [[value] * 3 for value in (1, 2, 3, 4, 5)]
    assert [taken.tolist() for taken in env.taken] == actions(drafts)
    events = [(o.success, o.failure, o.rerecord, o.stop) for o in outcomes]
    assert events == [tuple(column == row - 1 for column in range(4)) for row in range(5)]
    assert [o.is_intervention for o in outcomes] == [False] * 5
    assert teleoperator.infos == [{}, {"step": 1}, {"step": 2}, {"step": 3}, {"step": 4}]


def test_a_teleoperator_takes_over_from_the_policy() -> None:
    teleoperator = Script([TeleopAction(), act(8), act(9, is_intervention=True), TeleopAction()])
    env = Counting()
    drafts, outcomes = play(source_of(env, teleoperator=teleoperator, policy=Ramp()), 4)
    assert actions(drafts) == [[0.5] * 3, [8] * 3, [9] * 3, [3.5] * 3]
    assert [taken.tolist() for taken in env.taken] == actions(drafts)
    assert [o.is_intervention for o in outcomes] == [False, True, True, False]


class TeleopEvents(Enum):
    """As LeRobot spells them."""

    SUCCESS = "success"
    FAILURE = "failure"
    RERECORD_EPISODE = "rerecord_episode"
    IS_INTERVENTION = "is_intervention"
    TERMINATE_EPISODE = "terminate_episode"


OVERRIDE = np.array([4, 5, 6], np.float32)


@pytest.mark.parametrize(
    ("info", "recorded", "is_intervention"),
    [
        ({}, [1, 1, 1], False),
        ({"action_intervention": None}, [1, 1, 1], False),
        ({"action_intervention": OVERRIDE}, [4, 5, 6], True),
        ({"action_intervention": torch.tensor([[4.0, 5, 6]])}, [4, 5, 6], True),
        ({"teleop_action": OVERRIDE}, [4, 5, 6], True),
        ({"teleop_action": OVERRIDE, "is_intervention": True}, [4, 5, 6], True),
        ({"teleop_action": OVERRIDE, "is_intervention": False}, [1, 1, 1], False),
        ({"action_intervention": OVERRIDE, TeleopEvents.IS_INTERVENTION: False}, [1, 1, 1], False),
        ({"teleop_action": OVERRIDE, TeleopEvents.IS_INTERVENTION: np.bool_(True)}, [4, 5, 6], True),
        ({"action_intervention": OVERRIDE, "teleop_action": -OVERRIDE}, [4, 5, 6], True),
        ({"is_intervention": True}, [1, 1, 1], True),
    ],
)
def test_an_intervention_of_the_environment_is_recorded(
    info: dict[Any, Any], recorded: list[float], is_intervention: bool
) -> None:
    env = Counting(info=lambda step: info)
    drafts, (outcome,) = play(source_of(env, teleoperator=Script([act(1)])), 1)
    assert env.taken[0].tolist() == [1, 1, 1]
    assert drafts[0].row["action"].tolist() == recorded
    assert outcome.is_intervention is is_intervention


class Odd(Enum):
    LIST = ["success"]  # noqa: RUF012
    NUMBER = 3


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, set()),
        ({"success": True}, {"success"}),
        ({"is_success": np.bool_(True)}, {"success"}),
        ({"succeed": torch.tensor([True])}, {"success"}),
        ({"success": False, "is_success": np.array([0])}, set()),
        ({"success": None}, set()),
        ({TeleopEvents.SUCCESS: True}, {"success"}),
        ({"failure": True}, {"failure"}),
        ({"fail": 1}, {"failure"}),
        ({TeleopEvents.FAILURE: True}, {"failure"}),
        ({"rerecord_episode": True}, {"rerecord"}),
        ({TeleopEvents.RERECORD_EPISODE: True}, {"rerecord"}),
        ({"terminate_episode": True}, {"terminated"}),
        ({TeleopEvents.TERMINATE_EPISODE: True, TeleopEvents.SUCCESS: True}, {"terminated", "success"}),
        ({"coverage": 0.3, 17: "what", ("a", "b"): [], Odd.LIST: True, Odd.NUMBER: True}, set()),
    ],
)
def test_info(info: dict[Any, Any], expected: set[str]) -> None:
    drafts, (outcome,) = play(source_of(Counting(info=lambda step: info)), 1)
    events = {"success", "failure", "rerecord", "terminated", "truncated", "stop", "is_intervention"}
    assert {name for name in events if getattr(outcome, name)} == expected
    assert drafts[0].row["complementary_info.discrete_penalty"] == 0.0


@pytest.mark.parametrize("reward", [0.25, np.float64(0.25), np.array([0.25]), torch.tensor([[0.25]])])
def test_rewards_of_any_type(reward: Any) -> None:
    class Paying(Counting):
        def step(self, action: Any) -> Any:
            observation, _, _, _, info = super().step(action)
            return observation, reward, np.bool_(True), torch.tensor(False), info

    _, (outcome,) = play(source_of(Paying()), 1)
    assert (outcome.reward, outcome.terminated, outcome.truncated) == (0.25, True, False)


class Neutral(Counting):
    metadata = {"neutral_action": [0, 0, 1], "steps_after_end": True}  # noqa: RUF012


class NeutralWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    neutral_action = np.array([0.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("env", "given", "passed"),
    [
        (Neutral(), None, [0, 0, 1]),
        (gymnasium.wrappers.TimeLimit(Neutral(), 50), None, [0, 0, 1]),
        (NeutralWrapper(Neutral()), None, [0, 2, 0]),
        (Neutral(), [3, 3, 3], [3, 3, 3]),
        (Counting(), [3, 3, 3], [3, 3, 3]),
        (Counting(), "zeros", [0, 0, 0]),
    ],
)
def test_the_neutral_action_comes_from_the_source_or_the_caller(env: Any, given: Any, passed: list[float]) -> None:
    drafts, outcomes = play(source_of(env, neutral_action=given), 3)
    assert [taken.tolist() for taken in env.unwrapped.taken] == [passed] * 3, "also after the env wrote into its array"
    assert actions(drafts) == [passed] * 3
    assert not any(o.is_intervention for o in outcomes)


def test_the_environment_that_intervenes_in_every_step_gets_zeros_as_the_seed_does() -> None:
    env = Counting(info=lambda step: {"action_intervention": torch.full((1, 3), float(step)), "is_intervention": True})
    drafts, _ = play(source_of(env, neutral_action="zeros"), 3)
    assert [taken.tolist() for taken in env.taken] == [[0, 0, 0]] * 3
    assert actions(drafts) == [[1] * 3, [2] * 3, [3] * 3]


def test_never_silently_zeros() -> None:
    with pytest.raises(EnvironmentRefused, match=r"nobody acts: .*neutral_action"):
        source_of(Counting(), neutral_action=None)
    with pytest.raises(EnvironmentRefused, match=r"neutral_action gave an action of shape \(2,\), expected \(3,\)"):
        source_of(Counting(), neutral_action=[0, 0])
    with pytest.raises(EnvironmentRefused, match="neutral_action 'zero' found, expected numbers or 'zeros'"):
        source_of(Counting(), neutral_action="zero")
    source = source_of(Counting(), teleoperator=Script([act(1), TeleopAction()]))
    with pytest.raises(SourceError, match="the teleoperator gave no action, and the environment declares no neutral"):
        play(source, 2)
    drafts, _ = play(source_of(Neutral(), teleoperator=Script([act(1), TeleopAction()])), 2)
    assert actions(drafts) == [[1, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("env", "override", "expected"),
    [
        (Counting(), None, False),
        (Neutral(), None, True),
        (gymnasium.wrappers.TimeLimit(Neutral(), 5), None, True),
        (Neutral(), False, False),
        (Counting(), True, True),
    ],
)
def test_may_step_after_end(env: Any, override: bool | None, expected: bool) -> None:
    assert source_of(env, may_step_after_end=override).may_step_after_end is expected


def test_padding_past_the_end_with_the_rules() -> None:
    env = Counting(info=lambda step: {"is_success": step >= 2}, ends_at=2)
    source = source_of(env, may_step_after_end=True)
    rules = EpisodeRules(EpisodeConfig(None, steps_after_success=3, may_step_after_end=source.may_step_after_end))
    draft = draft_of(source.schema)
    source.begin(draft)
    rows = []
    while rules.ended is None:
        decision = rules.observe(source.tick(draft), OperatorEvents())
        source.finish(draft, decision.mark)
        rows.append([draft.row[key].item() for key in ("next.reward", "next.done")])
        source.stage(draft)
    assert rows == [[pytest.approx(0.01), False], [1, False], [1, False], [1, True]]


class FloatTorchBatch(gymnasium.Env[Any, Any]):
    """As HIL-SERL's first environments: torch on a device, float CHW pictures, a batch dimension nobody declares."""

    observation_space = spaces.Dict(
        {
            "observation.images.front": Box(0, 255, (3, 8, 6), np.float32),
            "observation.state": Box(-10, 10, (4,), np.float32),
        }
    )
    action_space = Box(-1, 1, (4,), np.float32)

    def observe(self) -> Any:
        self.steps += 1
        return {
            "observation.images.front": torch.full((1, 3, 8, 6), self.steps / 256),
            "observation.state": torch.full((1, 4), float(self.steps)),
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        return self.observe(), 0.0, False, False, {"action_intervention": torch.full((1, 4), self.steps / 4)}


def test_torch_float_pictures_and_batches() -> None:
    source = source_of(FloatTorchBatch(), neutral_action="zeros")
    drafts, _ = play(source, 3)
    for t, draft in enumerate(drafts):
        assert draft.pictures[0].shape == (3, 8, 6)
        assert np.unique(draft.pictures[0]).tolist() == [(t + 1) / 256]
        assert draft.row["observation.state"].tolist() == [t + 1] * 4
        assert draft.row["action"].tolist() == [(t + 2) / 4] * 4
    assert source.schema.streams[2].names == ("delta_x_ee", "delta_y_ee", "delta_z_ee", "gripper_delta")


def test_a_flat_environment_with_discrete_actions() -> None:
    class Buttons:
        def select_action(self, observation: Any) -> Any:
            return torch.tensor([1])

    source = source_of(make_env("CartPole-v1", {}), policy=Buttons(), seed=1)
    drafts, outcomes = play(source, 4)
    reference = make_env("CartPole-v1", {})
    observation, _ = reference.reset(seed=1)
    for draft, outcome in zip(drafts, outcomes, strict=True):
        np.testing.assert_array_equal(draft.row["observation.state"], observation)
        assert draft.row["action"].tolist() == [1]
        observation, reward, *_ = reference.step(np.int64(1))
        assert outcome.reward == reward


@pytest.mark.parametrize("obs_type", ["pixels_agent_pos", "environment_state_agent_pos", "state", "pixels"])
def test_push_t(obs_type: str) -> None:
    class Circling:
        def __init__(self) -> None:
            self.steps = 0

        def select_action(self, observation: Any) -> Any:
            self.steps += 1
            return np.array([[256 + 40 * self.steps, 200 + 10 * self.steps]], np.float32)

    source = source_of(make_env("gym_pusht/PushT-v0", {"obs_type": obs_type}), policy=Circling(), seed=3)
    drafts, outcomes = play(source, 6)
    reference, policy = make_env("gym_pusht/PushT-v0", {"obs_type": obs_type}), Circling()
    observation, _ = reference.reset(seed=3)
    names = {"agent_pos": "observation.state", "environment_state": "observation.environment_state"}
    seen = set()
    for draft, outcome in zip(drafts, outcomes, strict=True):
        parts = (
            observation
            if isinstance(observation, dict)
            else {"pixels" if obs_type == "pixels" else "agent_pos": observation}
        )
        for key, value in parts.items():
            if key == "pixels":
                np.testing.assert_array_equal(draft.pictures[0], value)
                seen.add(draft.pictures[0].tobytes())
            else:
                recorded = draft.row[names[key]]
                assert recorded.dtype == np.float32
                np.testing.assert_array_equal(recorded, value.astype(np.float32))
                seen.add(recorded.tobytes())
        action = policy.select_action(observation)[0]
        np.testing.assert_array_equal(draft.row["action"], action)
        observation, reward, terminated, truncated, _ = reference.step(action)
        assert (outcome.reward, outcome.terminated, outcome.truncated) == (reward, terminated, truncated)
    assert len(seen) >= 6, "the observations must differ for the comparison to mean anything"
    source.close()

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from control.clock import FakeClock
from control.episode_rules import EpisodeConfig, EpisodeRules, OperatorEvents
from control.errors import EnvironmentRefused, SourceError
from control.gym_make import make_env
from control.gym_source import GymSource
from control.source import Draft, Mark, Outcome, Source
from control.teleoperator import TeleopAction
from transport.schema import Schema, Stream

Box = spaces.Box


def draft_of(schema: Schema) -> Draft:
    """A draft as the log ring would hold it, with stale bytes of an older frame in it."""
    row = np.frombuffer(bytearray(b"\x5a" * schema.row_dtype.itemsize), schema.row_dtype)[0:1].reshape(())
    return Draft(row, [np.full(stream.shape, 90, stream.dtype) for stream in schema.pictures])


class Counting(gymnasium.Env[Any, Any]):
    """Delivers the number of steps since the reset in every array, in buffers that it reuses in every step."""

    metadata = {"render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Dict({"pixels": Box(0, 255, (8, 6, 3), np.uint8), "agent_pos": Box(-1e6, 1e6, (2,))})
    action_space: spaces.Space[Any] = Box(-9, 9, (3,), np.float32)

    def __init__(self, info: Callable[[int], dict[Any, Any]] = lambda step: {}, ends_at: int | None = None) -> None:
        self.info = info
        self.ends_at = ends_at
        self.steps = 0
        self.taken: list[Any] = []
        self.seeds: list[int | None] = []
        self.closed = 0
        self.buffers = {"pixels": np.zeros((8, 6, 3), np.uint8), "agent_pos": np.zeros(2, np.float32)}

    def observe(self) -> Any:
        for buffer in self.buffers.values():
            buffer[...] = self.steps
        return self.buffers

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[Any, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[Any, Any]]:
        self.taken.append(np.array(action))
        if isinstance(action, np.ndarray):
            action[...] = -77
        self.steps += 1
        return self.observe(), self.steps / 100, self.steps == self.ends_at, False, self.info(self.steps)

    def close(self) -> None:
        self.closed += 1


class Ramp:
    """A policy whose action tells which observation it saw."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def select_action(self, observation: Any) -> Any:
        return torch.full((1, 3), float(observation["agent_pos"][0]) + 0.5)


class Script:
    """A teleoperator that plays a list of actions, one a tick."""

    def __init__(self, actions: list[TeleopAction]) -> None:
        self.actions = actions
        self.infos: list[Any] = []
        self.tick = 0
        self.resets = 0
        self.closed = 0

    def reset(self) -> None:
        self.resets += 1
        self.tick = 0

    def act(self, observation: Any, info: Any) -> TeleopAction:
        self.infos.append(info)
        self.tick += 1
        return self.actions[min(self.tick, len(self.actions)) - 1]

    def close(self) -> None:
        self.closed += 1


def source_of(env: Any, **kwargs: Any) -> GymSource:
    if not {"policy", "teleoperator", "neutral_action"} & set(kwargs):
        kwargs["policy"] = Ramp()
    return GymSource(env, **{"clock": FakeClock(), **kwargs})


def play(source: Source, frames: int, mark: Mark = Mark(0.0, False)) -> tuple[list[Draft], list[Outcome]]:  # noqa: B008
    """Record an episode the way the loop does, every frame into a draft of its own."""
    drafts = [draft_of(source.schema)]
    outcomes: list[Outcome] = []
    source.begin(drafts[0])
    while True:
        outcomes.append(source.tick(drafts[-1]))
        source.finish(drafts[-1], mark)
        if len(drafts) == frames:
            return drafts, outcomes
        drafts.append(draft_of(source.schema))
        source.stage(drafts[-1])


def actions(drafts: list[Draft]) -> list[list[float]]:
    return [draft.row["action"].tolist() for draft in drafts]


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


def act(value: float, **events: bool) -> TeleopAction:
    return TeleopAction(np.full(3, value, np.float32), **events)


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


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (gymnasium.wrappers.Autoreset(Counting()), r"an environment that resets itself \(Autoreset\) found"),
        (
            gymnasium.wrappers.TimeLimit(gymnasium.wrappers.Autoreset(Counting()), 5),
            r"an environment that resets itself \(Autoreset\) found",
        ),
        (gymnasium.vector.SyncVectorEnv([Counting, Counting]), r"a vector environment \(2 environments\) found"),
    ],
)
def test_auto_resetting_environments_are_refused(env: Any, message: str) -> None:
    with pytest.raises(EnvironmentRefused, match=message + ".*record the single environment"):
        source_of(env)


def test_an_autoreset_mode_in_the_metadata_is_refused_unless_disabled() -> None:
    class Declaring(Counting):
        metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    with pytest.raises(EnvironmentRefused, match="resets itself"):
        source_of(Declaring())
    env = Declaring()
    env.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}
    source_of(env)


class Changing(Counting):
    """Delivers something else from step 2 on."""

    def __init__(self, key: str, value: Any) -> None:
        super().__init__()
        self.key, self.value = key, value

    def observe(self) -> Any:
        observation = dict(super().observe())
        if self.steps == 2:
            if self.value is None:
                del observation[self.key]
            else:
                observation[self.key] = self.value
        return observation


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pixels", np.zeros((6, 8, 3), np.uint8), r"'pixels': shape \(6, 8, 3\) found, expected \(8, 6, 3\)"),
        ("pixels", np.zeros((8, 6, 3), np.float32), r"'pixels': dtype float32 found, expected uint8"),
        ("agent_pos", np.zeros(3, np.float32), r"'agent_pos': shape \(3,\) found, expected \(2,\)"),
        ("agent_pos", None, r"'agent_pos' is missing"),
    ],
)
def test_an_observation_that_changes_mid_episode(key: str, value: Any, message: str) -> None:
    source = source_of(Changing(key, value), teleoperator=Script([act(0)]))
    play(source, 1)
    with pytest.raises(SourceError, match=message) as failed:
        play(source, 5)
    assert "\n" not in str(failed.value)


def test_an_undeclared_observation_is_named_at_the_reset() -> None:
    class Richer(Counting):
        def observe(self) -> Any:
            return {**super().observe(), "depth": np.zeros(3)}

    with pytest.raises(SourceError, match=r"\['depth'\] found that the observation space does not declare"):
        play(source_of(Richer()), 1)


def test_float_pictures_in_0_to_255_are_named_at_the_reset() -> None:
    class Bright(Counting):
        observation_space = Box(0, 255, (8, 6, 3), np.float32)

        def observe(self) -> Any:
            return np.full((8, 6, 3), 255, np.float32)

    with pytest.raises(SourceError, match="values from 255 to 255 found, expected 0 to 1"):
        play(source_of(Bright(), neutral_action="zeros"), 1)


class ManyCameras(gymnasium.Env[Any, Any]):
    """Pictures and rows interleaved in nested dictionaries; value = 10 * place + step, in reused buffers."""

    observation_space = spaces.Dict(
        {
            "agent_pos": Box(-999, 999, (1, 2), np.float64),
            "pixels": spaces.Dict({"top": Box(0, 255, (8, 6, 3), np.uint8), "wrist": Box(0, 255, (3, 4, 5), np.uint8)}),
            "observation": spaces.Dict({"force": Box(-999, 999, (3,), np.float32)}),
            "observation.images.side": Box(0, 255, (1, 2, 9, 3), np.uint8),
        }
    )
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self) -> None:
        self.buffers = self.observation_space.sample()

    def observe(self) -> Any:
        parts = self.buffers
        for place, buffer in enumerate(
            [
                parts["agent_pos"],
                parts["pixels"]["top"],
                parts["pixels"]["wrist"],
                parts["observation"]["force"],
                parts["observation.images.side"],
            ]
        ):
            buffer[...] = 10 * place + self.steps
        return parts

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observe(), 0.0, False, False, {}


def test_every_part_of_a_nested_observation_reaches_its_own_stream() -> None:
    source = source_of(ManyCameras(), neutral_action="zeros")
    drafts, _ = play(source, 4)
    places = {
        "observation.state": 0,
        "observation.images.top": 1,
        "observation.images.wrist": 2,
        "observation.force": 3,
        "observation.images.side": 4,
    }
    shapes = {stream.key: stream.shape for stream in source.schema.streams if stream.key in places}
    assert shapes == dict(zip(places, [(2,), (8, 6, 3), (3, 4, 5), (3,), (2, 9, 3)], strict=True))
    for t, draft in enumerate(drafts):
        found = {stream.key: picture for stream, picture in zip(source.schema.pictures, draft.pictures, strict=True)}
        found |= {key: draft.row[key] for key in ("observation.state", "observation.force")}
        assert {key: np.unique(value).tolist() for key, value in found.items()} == {
            key: [10 * place + t] for key, place in places.items()
        }


class Broken(Counting):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def reset(self, **kwargs: Any) -> Any:
        if self.where == "reset":
            raise OSError("no power\non the bus")
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        if self.where == "step":
            raise RuntimeError("the arm is\nstuck")
        result = super().step(action)
        return {"old": result[:4], "reward": (result[0], "much", *result[2:])}.get(self.where, result)

    def close(self) -> None:
        super().close()
        raise OSError("already gone")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("reset", "env.reset failed: OSError: no power on the bus"),
        ("step", "env.step failed: RuntimeError: the arm is stuck"),
        ("old", "env.step failed: ValueError: not enough values to unpack"),
        ("reward", "reading the reward and the end of env.step failed: ValueError"),
    ],
)
def test_failures_of_the_environment(where: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as failed:
        play(source_of(Broken(where)), 1)
    assert failed.value.__cause__ is not None
    assert "\n" not in str(failed.value)


class Failing:
    def __init__(self, where: str) -> None:
        self.where = where

    def reset(self) -> None:
        if self.where == "reset":
            raise OSError("unplugged")

    def act(self, observation: Any, info: Any) -> TeleopAction:
        raise OSError("unplugged")

    def select_action(self, observation: Any) -> Any:
        return np.zeros(7) if self.where == "shape" else 1 / 0

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ({"policy": Failing("reset")}, "the policy's reset failed: OSError: unplugged"),
        ({"policy": Failing("act")}, "the policy failed: ZeroDivisionError"),
        ({"policy": Failing("shape")}, r"the policy gave an action of shape \(7,\), expected \(3,\)"),
        ({"teleoperator": Failing("reset")}, "the teleoperator's reset failed: OSError: unplugged"),
        ({"teleoperator": Failing("act")}, "the teleoperator failed: OSError: unplugged"),
        ({"policy": Ramp(), "teleoperator": Failing("act")}, "the teleoperator failed: OSError: unplugged"),
    ],
)
def test_failures_of_who_acts(who: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        play(source_of(Counting(), **who), 1)


def test_a_bad_action_never_reaches_the_environment() -> None:
    env = Counting()
    with pytest.raises(SourceError):
        play(source_of(env, policy=Failing("shape")), 1)
    assert env.taken == []


def test_close_once_and_the_teleoperator_even_after_an_error() -> None:
    env, teleoperator = Counting(), Script([act(1)])
    source = source_of(env, teleoperator=teleoperator)
    source.close()
    source.close()
    assert env.closed == teleoperator.closed == 1
    broken, teleoperator = Broken("close"), Script([act(1)])
    source = source_of(broken, teleoperator=teleoperator)
    with pytest.raises(SourceError, match=r"env\.close failed: OSError: already gone"):
        source.close()
    source.close()
    assert broken.closed == teleoperator.closed == 1


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

"""Environments that are refused, change under way, or fail; and policies and teleoperators that do."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gym_cases import Box, Counting, Ramp, Script, act, play, source_of
from gymnasium import spaces

from control.errors import EnvironmentRefused, SourceError
from control.teleoperator import TeleopAction


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

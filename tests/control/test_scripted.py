import gymnasium
import numpy as np
import pytest

from control.envs.tabletop import Tabletop
from control.scripted import RandomTeleoperator, ScriptedTeleoperator
from control.teleoperator import Teleoperator


def attempt(operator, seed=0, steps=200, **kwargs):
    """Everything that the teleoperator wanted in one episode, and the last info."""
    env = Tabletop(cameras=0, **kwargs)
    observation, info = env.reset(seed=seed)
    operator.reset()
    wanted = []
    for _ in range(steps):
        wanted.append(operator.act(observation, info))
        observation, _, terminated, _, info = env.step(wanted[-1].action)
        if terminated:
            break
    return wanted, info


def test_both_are_teleoperators():
    operators: list[Teleoperator] = [ScriptedTeleoperator(), RandomTeleoperator(gymnasium.spaces.Discrete(2))]
    for operator in operators:
        operator.close()
        operator.close()


def test_actions_are_in_the_tabletops_space():
    wanted, info = attempt(ScriptedTeleoperator())
    space = Tabletop(cameras=0).action_space
    assert info["success"]
    assert all(w.action in space for w in wanted)


@pytest.mark.parametrize(("fps", "first", "last"), [(30, 15, 27), (10, 5, 9), (60, 30, 54)])
def test_one_intervention_of_the_stated_length(fps, first, last):
    operator = ScriptedTeleoperator(fps=fps)
    for seed in range(3):
        wanted, info = attempt(operator, seed, steps=20 * fps, fps=fps)
        assert [i for i, w in enumerate(wanted) if w.is_intervention] == list(range(first, last))
        assert info["success"]


def test_rerecord_and_failure_come_once_in_the_attempts_named():
    operator = ScriptedTeleoperator(rerecord_episodes=[1], fail_episodes=(2, 3))
    attempts = [attempt(operator, seed)[0] for seed in range(5)]
    assert [[i for i, w in enumerate(a) if w.rerecord] for a in attempts] == [[], [45], [], [], []]
    assert [[i for i, w in enumerate(a) if w.failure] for a in attempts] == [[], [], [45], [45], []]
    # In the middle: well before the cube is placed.
    assert all(len(a) > 60 for a in attempts)


def test_success_is_signalled_once_by_the_operator_only_when_told_to():
    def signals(success_by):
        operator = ScriptedTeleoperator(success_by=success_by)
        env = Tabletop(cameras=0)
        observation, info = env.reset(seed=0)
        operator.reset()
        found = []
        for _ in range(200):
            found.append((operator.act(observation, info), info["success"]))
            observation, *_, info = env.step(found[-1][0].action)
        return [placed for wanted, placed in found if wanted.success]

    assert signals("env") == []
    assert signals("operator") == [True]


def test_it_rests_when_it_is_done():
    operator = ScriptedTeleoperator()
    env = Tabletop(cameras=0)
    observation, info = env.reset(seed=0)
    operator.reset()
    for _ in range(250):
        wanted = operator.act(observation, info)
        observation, *_, info = env.step(wanted.action)
    np.testing.assert_array_equal(wanted.action, np.zeros(4, np.float32))


def test_a_lost_cube_is_picked_up_again():
    operator = ScriptedTeleoperator()
    env = Tabletop(cameras=0)
    observation, info = env.reset(seed=0)
    operator.reset()
    dropped = 0
    for _ in range(400):
        action = operator.act(observation, info).action
        if observation["observation.state"][6] > 0.09 and dropped < 6:
            action, dropped = np.array([0, 0, 0, 1]), dropped + 1
        observation, *_, info = env.step(action)
    assert dropped == 6
    assert info["success"]


def test_lower_speed_takes_longer_and_still_arrives():
    fast, _ = attempt(ScriptedTeleoperator())
    slow, info = attempt(ScriptedTeleoperator(speed=0.5), steps=500)
    assert info["success"]
    assert len(slow) > 1.4 * len(fast)


def test_a_seed_is_repeatable_and_attempts_differ():
    def actions(operator):
        return [np.array([w.action for w in attempt(operator)[0]]) for _ in range(2)]

    first, again, other = (actions(ScriptedTeleoperator(seed=seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0][:20], first[1][:20])
    assert not np.array_equal(first[0][:20], other[0][:20])


def test_a_batch_dimension_of_one_is_understood():
    observation, info = Tabletop(cameras=0).reset(seed=0)
    batched = {"observation.state": observation["observation.state"][None]}
    plain, other = (ScriptedTeleoperator().act(o, info).action for o in (observation, batched))
    np.testing.assert_array_equal(plain, other)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"pixels": np.zeros(3)}, "without 'observation.state' found"),
        (np.zeros(9), "without 'observation.state' found"),
        ({"observation.state": np.zeros(4)}, "of 4 numbers found, expected the tabletop's 9"),
    ],
)
def test_another_environments_observation_is_refused(observation, message):
    with pytest.raises(ValueError, match=message):
        ScriptedTeleoperator().act(observation, {})


@pytest.mark.parametrize("kwargs", [{"fps": 0}, {"speed": 0}, {"speed": 1.5}, {"success_by": "luck"}], ids=str)
def test_arguments_out_of_range_are_refused(kwargs):
    with pytest.raises(ValueError, match="found, expected"):
        ScriptedTeleoperator(**kwargs)


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Box(-1, 1, (4,), np.float32),
        gymnasium.spaces.Box(0, 512, (2,), np.float64),
        gymnasium.spaces.Discrete(5, start=3),
    ],
    ids=str,
)
def test_random_actions_are_in_the_space_and_repeatable(space):
    first, again, other = (RandomTeleoperator(space, seed) for seed in (1, 1, 2))
    actions = [[operator.act({}, {}).action for _ in range(30)] for operator in (first, again, other)]
    assert all(action in space for action in actions[0])
    assert all(action.dtype == space.dtype for action in actions[0])
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


def test_random_actions_leave_the_callers_space_alone():
    space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    space.seed(7)
    expected = space.sample()
    space.seed(7)
    RandomTeleoperator(space, 1).act({}, {})
    np.testing.assert_array_equal(space.sample(), expected)

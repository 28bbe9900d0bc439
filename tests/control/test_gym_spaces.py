from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from control.errors import EnvironmentRefused, SourceError
from control.gym_actions import ActionForm
from control.gym_spaces import check_keys, check_ranges, observation_leaves, to_numpy
from transport.errors import SchemaError
from transport.schema import CHW, HWC, Kind, Stream

Box = spaces.Box
VECTOR = Box(-1, 1, (5,), np.float32)
RGB = Box(0, 255, (48, 64, 3), np.uint8)
RGB_CHW = Box(0, 255, (3, 48, 64), np.uint8)


def video(key: str, shape: tuple[int, ...] = (48, 64, 3), dtype: str = "uint8") -> Stream:
    return Stream(key, dtype, shape, Kind.VIDEO, CHW if shape[0] == 3 else HWC)


def row(key: str, shape: tuple[int, ...], dtype: str = "float32") -> Stream:
    return Stream(key, dtype, shape)


def wide(*shape: int, dtype: Any = np.float64) -> Box:
    return Box(-np.inf, np.inf, shape, dtype)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        # The forms of LeRobot's simulated environments.
        (spaces.Dict({"pixels": RGB, "agent_pos": wide(2)}),
         [row("observation.state", (2,)), video("observation.image")]),
        (spaces.Dict({"pixels": spaces.Dict({"top": RGB, "wrist": RGB_CHW}), "agent_pos": wide(14)}),
         [row("observation.state", (14,)), video("observation.images.top"),
          video("observation.images.wrist", (3, 48, 64))]),
        (spaces.Dict({"environment_state": wide(16), "agent_pos": wide(2)}),
         [row("observation.state", (2,)), row("observation.environment_state", (16,))]),
        (spaces.Dict({"robot_state": spaces.Dict({"eef": spaces.Dict({"pos": wide(3)}), "gripper": wide(2)})}),
         [row("observation.robot_state.eef.pos", (3,)), row("observation.robot_state.gripper", (2,))]),
        # HIL-SERL's own names.
        (spaces.Dict({"observation.state": VECTOR, "observation.image": RGB_CHW, "observation.image_wrist": RGB}),
         [video("observation.image", (3, 48, 64)), video("observation.image_wrist"), row("observation.state", (5,))]),
        (spaces.Dict({"observation.images.front": RGB, "observation.force": VECTOR}),
         [row("observation.force", (5,)), video("observation.images.front")]),
        # Nested dictionaries that spell such names.
        (spaces.Dict({"observation": spaces.Dict({"state": VECTOR, "images": spaces.Dict({"front": RGB})})}),
         [video("observation.images.front"), row("observation.state", (5,))]),
        # One array alone.
        (wide(5), [row("observation.state", (5,))]),
        (VECTOR, [row("observation.state", (5,))]),
        (wide(), [row("observation.state", (1,))]),
        (Box(0, 9, (4,), np.int16), [row("observation.state", (4,), "int16")]),
        (spaces.Discrete(16), [row("observation.state", (1,), "int64")]),
        (spaces.MultiDiscrete([3, 4]), [row("observation.state", (2,), "int64")]),
        (spaces.MultiBinary(6), [row("observation.state", (6,), "int8")]),
        (RGB, [video("observation.image")]),
        (RGB_CHW, [video("observation.image", (3, 48, 64))]),
        # Floating pictures keep their dtype: the conversion is not the loop's work.
        (wide(3, 48, 64, dtype=np.float32), [video("observation.image", (3, 48, 64), "float32")]),
        (wide(48, 64, 3), [video("observation.image", (48, 64, 3), "float64")]),
        # A batch dimension of 1.
        (spaces.Dict({"pixels": Box(0, 255, (1, 48, 64, 3), np.uint8), "agent_pos": wide(1, 2)}),
         [row("observation.state", (2,)), video("observation.image")]),
        (wide(1, 7), [row("observation.state", (7,))]),
        (wide(1, 1), [row("observation.state", (1,))]),
        (Box(0, 255, (1, 3, 48, 64), np.uint8), [video("observation.image", (3, 48, 64))]),
        # Arrays under observation.* keep their shape; half precision is not a column.
        (spaces.Dict({"observation.pose": wide(4, 4), "observation.tactile": wide(2, 3, 4, dtype=np.float16)}),
         [row("observation.pose", (4, 4)), row("observation.tactile", (2, 3, 4))]),
    ],
)  # fmt: skip
def test_streams_of_spaces(space: spaces.Space[Any], expected: list[Stream]) -> None:
    leaves = observation_leaves(space)
    assert [leaf.stream for leaf in leaves] == expected
    # And the space's own samples are read into these streams.
    sample = space.sample()
    check_keys(sample, leaves)
    for leaf in leaves:
        array = leaf.read(sample)
        assert array.shape == leaf.stream.shape
        value = sample
        for key in leaf.path:
            value = value[key]
        np.testing.assert_array_equal(array.ravel(), np.asarray(value).ravel())


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict({"speed": VECTOR}), r"'speed' has no place.*rename it.*observation\.speed"),
        (spaces.Dict({"robot": spaces.Dict({"agent_pos": VECTOR})}), r"'robot\.agent_pos' has no place"),
        (spaces.Dict({"observation": VECTOR, "desired_goal": VECTOR}), r"'desired_goal' has no place"),
        (spaces.Dict({"next.reward": VECTOR}), r"'next\.reward' has no place"),
        (spaces.Dict({"agent_pos": spaces.Text(5)}), r"'agent_pos' is a Text space"),
        (spaces.Tuple([VECTOR, RGB]), r"the observation is a Tuple space"),
        (spaces.Dict({"observation.things": spaces.Sequence(VECTOR)}), r"'observation\.things' is a Sequence space"),
        (spaces.Dict({}), r"observation space is empty"),
        (wide(96, 96), r"the observation has shape \(96, 96\), expected a vector or a picture"),
        (Box(0, 255, (96, 96, 1), np.uint8), r"\(96, 96, 1\).*one or four channels need a wrapper"),
        (Box(0, 255, (1, 96, 96), np.uint8), r"\(1, 96, 96\).*one or four channels need a wrapper"),
        (spaces.Dict({"pixels": Box(0, 255, (96, 96, 4), np.uint8)}), r"'pixels' has shape \(96, 96, 4\)"),
        (spaces.Dict({"pixels": Box(0, 255, (96, 96), np.uint8)}), r"'pixels' has shape \(96, 96\)"),
        (spaces.Dict({"pixels": Box(0, 255, (2, 9, 9, 3), np.uint8)}), r"'pixels' has shape \(2, 9, 9, 3\)"),
        (spaces.Dict({"pixels": Box(0, 999, (9, 9, 3), np.int32)}), r"'pixels' has dtype int32, expected uint8"),
        (spaces.Dict({"observation.wrist": RGB}), r"'observation\.wrist' looks like a picture.*images\.front"),
        (spaces.Dict({"observation.image_embedding": VECTOR}), r"'observation\.image_embedding' has shape \(5,\)"),
    ],
)
def test_spaces_that_cannot_be_recorded_are_refused_by_name(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(EnvironmentRefused, match=message) as refused:
        observation_leaves(space)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_name_that_lerobot_cannot_hold_is_a_usage_error() -> None:
    with pytest.raises(SchemaError, match=r"observation\.a/b"):
        observation_leaves(spaces.Dict({"observation.a/b": VECTOR}))


def test_state_names_are_used_where_they_fit() -> None:
    space = spaces.Dict({"agent_pos": wide(2), "environment_state": wide(2)})
    state, environment = observation_leaves(space, ("x", "y"))
    assert state.stream.names == ("x", "y")
    assert environment.stream.names is None
    assert observation_leaves(wide(3), ("x", "y"))[0].stream.names is None


def test_values_with_a_batch_dimension_that_the_space_does_not_declare() -> None:
    leaves = observation_leaves(spaces.Dict({"observation.image": RGB_CHW, "observation.state": VECTOR}))
    image = torch.arange(3 * 48 * 64, dtype=torch.uint8).reshape(1, 3, 48, 64)
    state = torch.linspace(0, 1, 5, requires_grad=True).reshape(1, 5)
    values = [leaf.read({"observation.image": image, "observation.state": state}) for leaf in leaves]
    np.testing.assert_array_equal(values[0], image[0].numpy())
    np.testing.assert_array_equal(values[1], state[0].detach().numpy())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("agent_pos", np.zeros(3, np.float32), r"'agent_pos': shape \(3,\) found, expected \(5,\)"),
        ("agent_pos", np.zeros((2, 5), np.float32), r"shape \(2, 5\) found, expected \(5,\)"),
        ("agent_pos", torch.zeros(6), r"shape \(6,\) found, expected \(5,\)"),
        ("agent_pos", np.zeros(5, np.complex64), r"dtype complex64 found, expected float32"),
        ("agent_pos", torch.zeros(5, dtype=torch.bfloat16), r"'agent_pos' is no array that numpy can hold: .*BFloat16"),
        ("agent_pos", [[1, 2], [3]], r"'agent_pos' is no array that numpy can hold"),
        ("agent_pos", None, r"shape \(\) found"),
        ("pixels", np.zeros((64, 48, 3), np.uint8), r"'pixels': shape \(64, 48, 3\) found, expected \(48, 64, 3\)"),
        ("pixels", np.zeros((3, 48, 64), np.uint8), r"shape \(3, 48, 64\) found"),
        ("pixels", np.zeros((48, 64, 3), np.float32), r"'pixels': dtype float32 found, expected uint8"),
        ("pixels", np.zeros((48, 64, 3), np.int64), r"'pixels': dtype int64 found, expected uint8"),
    ],
)
def test_a_value_of_another_form_is_named(key: str, value: Any, message: str) -> None:
    leaves = observation_leaves(spaces.Dict({"agent_pos": VECTOR, "pixels": RGB}))
    good = {"agent_pos": np.zeros(5, np.float32), "pixels": np.zeros((48, 64, 3), np.uint8)}
    for leaf in leaves:
        leaf.read(good)
    (leaf,) = [leaf for leaf in leaves if leaf.name == key]
    with pytest.raises(SourceError, match=message):
        leaf.read({**good, key: value})


def test_0_to_255_is_not_taken_for_0_to_1() -> None:
    leaves = observation_leaves(wide(8, 8, 3, dtype=np.float32))
    with pytest.raises(SourceError, match="dtype uint8 found, expected float32"):
        leaves[0].read(np.full((8, 8, 3), 200, np.uint8))
    check_ranges(leaves, [np.linspace(0, 1, 192, dtype=np.float32).reshape(8, 8, 3)])
    with pytest.raises(SourceError, match="values from 0 to 200 found, expected 0 to 1; divide by 255"):
        check_ranges(leaves, [np.linspace(0, 200, 192, dtype=np.float32).reshape(8, 8, 3)])


def test_missing_and_undeclared_keys() -> None:
    leaves = observation_leaves(spaces.Dict({"agent_pos": VECTOR, "pixels": spaces.Dict({"top": RGB})}))
    with pytest.raises(SourceError, match=r"'pixels\.top' is missing"):
        leaves[1].read({"agent_pos": np.zeros(5), "pixels": {}})
    with pytest.raises(SourceError, match=r"\['pixels\.wrist', 'speed'\] found that the observation space does not"):
        check_keys({"agent_pos": 0, "pixels": {"top": 0, "wrist": 0}, "speed": 1}, leaves)


def test_to_numpy() -> None:
    array = np.zeros(3)
    assert to_numpy(array) is array
    assert to_numpy(2.5) == 2.5
    np.testing.assert_array_equal(to_numpy(torch.ones(2, requires_grad=True)), np.ones(2))


DELTA = ("delta_x_ee", "delta_y_ee", "delta_z_ee")


@pytest.mark.parametrize(
    ("space", "names", "use_gripper", "expected"),
    [
        (wide(3, dtype=np.float32), None, None, Stream("action", "float32", (3,), names=DELTA)),
        (wide(4), None, None, Stream("action", "float32", (4,), names=(*DELTA, "gripper_delta"))),
        (wide(4), None, True, Stream("action", "float32", (4,), names=(*DELTA, "gripper_delta"))),
        (wide(3), None, False, Stream("action", "float32", (3,), names=DELTA)),
        (wide(4), None, False, Stream("action", "float32", (4,))),
        (wide(3), None, True, Stream("action", "float32", (3,))),
        (wide(2), None, None, Stream("action", "float32", (2,))),
        (wide(2), ("x", "y"), None, Stream("action", "float32", (2,), names=("x", "y"))),
        (wide(1, 4), None, None, Stream("action", "float32", (4,), names=(*DELTA, "gripper_delta"))),
        (wide(4), ("a", "b", "c", "d"), None, Stream("action", "float32", (4,), names=("a", "b", "c", "d"))),
        (spaces.Discrete(5), None, None, Stream("action", "int64", (1,))),
        (spaces.MultiDiscrete([2, 3, 4]), None, None, Stream("action", "int64", (3,))),
        (spaces.MultiBinary(4), None, None, Stream("action", "int8", (4,))),
    ],
)
def test_action_columns(
    space: spaces.Space[Any], names: tuple[str, ...] | None, use_gripper: bool | None, expected: Stream
) -> None:
    form = ActionForm(space, names, use_gripper)
    assert form.stream == expected
    sample = space.sample()
    action = form.for_env(form.read(sample, "a test"))
    assert space.contains(action)
    assert space.contains(form.for_env(form.zeros()))
    np.testing.assert_array_equal(action, sample)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("make", [np.array, torch.tensor, list])
def test_actions_of_a_policy_in_any_form(make: Any, batched: bool) -> None:
    values = [0.5, -1.0, 0.25]
    form = ActionForm(wide(3, dtype=np.float32))
    action = form.read(make([values] if batched else values), "the policy")
    assert (action.shape, action.dtype) == ((3,), np.float32)
    np.testing.assert_array_equal(action, np.float32(values))


def test_discrete_actions_of_a_policy() -> None:
    form = ActionForm(spaces.Discrete(5))
    for value in (3, np.int64(3), np.array([3]), torch.tensor([[3]]), torch.tensor(3)):
        action = form.for_env(form.read(value, "the policy"))
        assert action == 3
        assert isinstance(action, np.int64)


def test_an_action_that_does_not_fit_is_named() -> None:
    form = ActionForm(wide(3))
    with pytest.raises(SourceError, match=r"the policy gave an action of shape \(4,\), expected \(3,\)"):
        form.read(np.zeros(4), "the policy")
    with pytest.raises(SourceError, match=r"shape \(2, 3\)"):
        form.read(np.zeros((2, 3)), "the policy")
    with pytest.raises(SourceError, match=r"the policy gave an action that numpy cannot hold: .*BFloat16"):
        form.read(torch.zeros(3, dtype=torch.bfloat16), "the policy")
    with pytest.raises(SourceError, match="dtype float64, expected int64"):
        ActionForm(spaces.Discrete(5)).read(2.0, "the teleoperator")


def test_the_environment_keeps_what_it_is_given() -> None:
    form = ActionForm(wide(2))
    mine = np.ones(2)
    form.read(mine, "me")[:] = 5
    np.testing.assert_array_equal(mine, [1, 1])


class TorchBox(Box):
    """As HIL-SERL's: samples tensors, so its environment wants tensors."""

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        return torch.from_numpy(super().sample(*args, **kwargs))


def test_an_environment_in_torch_is_given_tensors() -> None:
    space = TorchBox(-1, 1, (2,), np.float32, seed=3)
    form = ActionForm(space)
    action = form.for_env(form.read(np.array([0.5, -0.5]), "me"))
    assert isinstance(action, torch.Tensor)
    assert action.dtype == torch.float32
    assert action.tolist() == [0.5, -0.5]
    assert torch.equal(space.sample(), TorchBox(-1, 1, (2,), np.float32, seed=3).sample())


@pytest.mark.parametrize(
    ("space", "names", "message"),
    [
        (spaces.Dict({"arm": VECTOR}), None, "action space is a Dict, expected Box"),
        (spaces.Tuple([VECTOR]), None, "action space is a Tuple"),
        (wide(2), ("x", "y", "z"), r"3 action names found for an action of shape \(2,\)"),
    ],
)
def test_action_spaces_that_cannot_be_recorded(
    space: spaces.Space[Any], names: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(EnvironmentRefused, match=message):
        ActionForm(space, names)

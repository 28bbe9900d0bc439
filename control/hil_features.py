"""The columns that lerobot's `control_loop` (lerobot/rl/gym_manipulator.py) makes from a transition, as streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control.errors import EnvironmentRefused
from control.gym_spaces import to_numpy
from transport.schema import CHW, Kind, Stream

PENALTY = "complementary_info.discrete_penalty"
_STATE = "observation.state"
# What `control_loop` calls the action where no teleoperator describes it: under gym_hil.
GYM_ACTION = {"dtype": "float32", "shape": (4,), "names": ["delta_x", "delta_y", "delta_z", "gripper"]}


@dataclass(frozen=True, slots=True)
class Columns:
    """The streams of every frame: `row` as the loop fills them, then what is looked at."""

    action: Stream
    row: tuple[Stream, ...]
    observed: tuple[Stream, ...]

    @property
    def streams(self) -> tuple[Stream, ...]:
        return (self.action, *self.row, *self.observed)


def columns(action: Mapping[str, Any], observation: Mapping[str, Any], *, use_gripper: bool) -> Columns:
    """As `control_loop` declares them, in its order.

    Args:
        action: the teleoperator's `action_features`, or `GYM_ACTION`.
        observation: of a processed transition; its tensors have a batch dimension of 1.
        use_gripper: whether there is a discrete penalty.

    Raises:
        EnvironmentRefused: something is observed that `control_loop` has no column for, or the action is not described
            as it needs it.
        SchemaError: a shape or dtype that LeRobot cannot hold.
    """
    row = [Stream("next.reward", "float32", (1,)), Stream("next.done", "bool", (1,))]
    if use_gripper:
        row.append(Stream(PENALTY, "float32", (1,), names=("discrete_penalty",)))
    observed = []
    for key, value in observation.items():
        if not hasattr(value, "detach"):
            continue  # as control_loop, which takes the tensors alone
        array = to_numpy(value)
        shape = array.shape[1:]
        if key == _STATE:
            observed.append(Stream(key, "float32", shape))
        elif "image" in key:
            observed.append(Stream(key, str(array.dtype), shape, Kind.VIDEO, CHW))
        else:
            raise EnvironmentRefused(
                f"an observation {key!r} found beside the state and the images; HIL-SERL's recorder has no column for "
                "it and fails; take the processor step away that adds it"
            )
    return Columns(_action_stream(action), tuple(row), tuple(observed))


def _action_stream(feature: Mapping[str, Any]) -> Stream:
    names = feature.get("names")
    indexed = isinstance(names, Mapping)
    ordered = names is None or (isinstance(names, Mapping) and [*names.values()] == [*range(len(names))])
    listed = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not {"dtype", "shape"} <= feature.keys() or not (ordered or listed):
        raise EnvironmentRefused(
            f"action_features {dict(feature)} found, expected dtype, shape and names, as gamepad and keyboard_ee have "
            "them; choose another --env.teleop.type"
        )
    return Stream(
        "action",
        feature["dtype"],
        tuple(feature["shape"]),
        names=None if names is None else tuple(names),
        indexed=indexed,
    )

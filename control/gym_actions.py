"""Actions: from a policy, a teleoperator or the environment itself, into the environment and into the dataset."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from control.errors import EnvironmentRefused, SourceError
from control.gym_spaces import storable_dtype, to_numpy
from transport.schema import Kind, Stream

# The columns of LeRobot's HIL-SERL recorder: end-effector steps, with or without a gripper.
_DELTA_NAMES = ("delta_x_ee", "delta_y_ee", "delta_z_ee", "gripper_delta")


class ActionForm:
    """The action space of an environment, and the `action` column for it.

    Args:
        names: names of the elements; None takes `delta_x_ee, delta_y_ee, delta_z_ee[, gripper_delta]` for a Box of
            three or four elements.
        use_gripper: whether a gripper is expected as the fourth element; None takes what the space has. Where the
            space does not fit, the column has no names.

    Raises:
        EnvironmentRefused: the space is of a form that has no column, or `names` do not fit it.
    """

    def __init__(
        self, space: spaces.Space[Any], names: tuple[str, ...] | None = None, use_gripper: bool | None = None
    ) -> None:
        shape, dtype = space.shape, space.dtype
        if (
            not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
            or shape is None
            or dtype is None
        ):
            raise EnvironmentRefused(
                f"the action space is a {type(space).__name__}, expected Box, Discrete, MultiDiscrete or MultiBinary; "
                "flatten it in an action wrapper"
            )
        self._space = space
        self._shape = shape
        self._dtype = dtype
        # Environments that work in torch have a space that samples tensors, and want tensors back. Sampling a copy
        # leaves the space's random numbers as the user seeded them.
        sample = copy.deepcopy(space).sample()
        self._tensor: Any = sample if hasattr(sample, "new_tensor") else None
        row_shape = (shape[1:] if len(shape) > 1 and shape[0] == 1 else shape) or (1,)
        if names is None and isinstance(space, spaces.Box):
            names = _delta_names(row_shape, use_gripper)
        elif names is not None and row_shape != (len(names),):
            raise EnvironmentRefused(f"{len(names)} action names found for an action of shape {row_shape}: {names}")
        self.stream = Stream("action", storable_dtype(dtype), row_shape, Kind.ROW, names)

    def zeros(self) -> NDArray[Any]:
        """All zeros: what HIL-SERL's first recorder passes for want of a declared neutral action."""
        return np.zeros(self._shape, self._dtype)

    def read(self, value: Any, whose: str) -> NDArray[Any]:
        """An action as an array of the environment's own shape and dtype; always a copy, for the environment to keep.

        Args:
            value: numpy, torch or plain numbers, with or without a batch dimension of 1.
            whose: for the message: "the policy", "the teleoperator", ...

        Raises:
            SourceError: it does not fit the action space.
        """
        try:
            array = to_numpy(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise SourceError(f"{whose} gave an action that numpy cannot hold: {error}") from error
        if array.shape not in (self._shape, self.stream.shape, (1, *self._shape), (1, *self.stream.shape)):
            raise SourceError(f"{whose} gave an action of shape {array.shape}, expected {self._shape}")
        if not np.can_cast(array.dtype, self._dtype, "same_kind"):
            raise SourceError(f"{whose} gave an action of dtype {array.dtype}, expected {self._dtype}")
        return np.array(array.reshape(self._shape), dtype=self._dtype, copy=True)

    def for_env(self, action: NDArray[Any]) -> Any:
        """What `env.step` takes for an action that `read` made: a number for Discrete, a tensor for torch spaces."""
        if self._tensor is not None:
            return self._tensor.new_tensor(action)
        return self._dtype.type(action) if isinstance(self._space, spaces.Discrete) else action


def _delta_names(shape: tuple[int, ...], use_gripper: bool | None) -> tuple[str, ...] | None:
    gripper = shape == (4,) if use_gripper is None else use_gripper
    names = _DELTA_NAMES if gripper else _DELTA_NAMES[:3]
    return names if shape == (len(names),) else None

"""From a gymnasium observation space to streams, and from an observation to their arrays.

Streams are named as LeRobot names them for gymnasium environments (lerobot/envs/utils.py, `preprocess_observation`):

    pixels, a plain image Box              observation.image, or observation.images.NAME when there are several
    agent_pos, a plain vector              observation.state
    environment_state, robot_state         observation.environment_state, observation.robot_state
    observation.ANYTHING                   the same

Nested dictionaries are joined with "."; a key with "image" in it is a picture, HWC or CHW. Everything else is refused
at the start, never dropped. A leading batch dimension of 1, declared or only delivered, is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from control.errors import EnvironmentRefused, ObservationChangedError
from transport.schema import CHW, HWC, Kind, Stream

_NAMES = {
    "agent_pos": "observation.state",
    "environment_state": "observation.environment_state",
    "robot_state": "observation.robot_state",
}
# Resampling may overshoot 0..1 a little; 0..255 is far outside.
_PICTURE_RANGE = (-0.1, 1.1)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of the observation and the stream that it fills.

    Attributes:
        path: the keys that lead to it in nested dictionaries; empty when the observation is the array itself.
        shape: as the space declares it, possibly with a batch dimension of 1.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    stream: Stream

    @property
    def name(self) -> str:
        return ".".join(self.path) or "observation"

    def read(self, observation: Any) -> NDArray[Any]:
        """This leaf's array of an observation, of the stream's shape and a dtype that the stream takes; not copied.

        Raises:
            ObservationChangedError: it is missing, or its shape or dtype is not the declared one.
        """
        value = observation
        for key in self.path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError) as error:
                raise ObservationChangedError(
                    f"observation {self.name!r} is missing; the space declares it in every step"
                ) from error
        try:
            array = to_numpy(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ObservationChangedError(
                f"observation {self.name!r} is no array that numpy can hold: {error}"
            ) from error
        if array.shape not in (self.shape, self.stream.shape, (1, *self.shape)):
            raise ObservationChangedError(
                f"observation {self.name!r}: shape {array.shape} found, expected {self.shape} as the space declares"
            )
        # A picture's dtype also says its range: 0..255 or 0..1.
        is_picture = self.stream.kind is not Kind.ROW
        if not np.can_cast(array.dtype, self.stream.dtype, "same_kind") or (
            is_picture and array.dtype.kind != np.dtype(self.stream.dtype).kind
        ):
            raise ObservationChangedError(
                f"observation {self.name!r}: dtype {array.dtype} found, expected {self.stream.dtype} or one that "
                "converts to it; declare the real dtype in the space"
            )
        return array.reshape(self.stream.shape)


def observation_leaves(space: spaces.Space[Any], state_names: tuple[str, ...] | None = None) -> tuple[Leaf, ...]:
    """The leaves of an observation space, in its own order.

    Args:
        state_names: names of the elements of `observation.state`; used where their number fits.

    Raises:
        EnvironmentRefused: a part of the space cannot be recorded; the message names it.
        SchemaError: a name that LeRobot cannot hold.
    """
    found = [_leaf(path, part, state_names) for path, part in _flatten(space)]
    if not found:
        raise EnvironmentRefused("the observation space is empty, expected at least one array to record")
    return tuple(found)


def check_keys(observation: Any, leaves: Sequence[Leaf]) -> None:
    """See that an observation holds nothing beyond its leaves, which would be lost.

    Raises:
        ObservationChangedError: there is a key that the space does not declare.
    """
    undeclared = {".".join(path) for path in _paths(observation)} - {".".join(leaf.path) for leaf in leaves}
    if undeclared:
        raise ObservationChangedError(
            f"observation keys {sorted(undeclared)} found that the observation space does not declare"
        )


def check_ranges(leaves: Sequence[Leaf], arrays: Sequence[NDArray[Any]]) -> None:
    """See that floating pictures are in 0..1; their declared bounds are often those of the uint8 original.

    Raises:
        ObservationChangedError: they are not.
    """
    for leaf, array in zip(leaves, arrays, strict=True):
        if leaf.stream.kind is Kind.ROW or array.dtype.kind != "f":
            continue
        low, high = float(array.min()), float(array.max())
        if low < _PICTURE_RANGE[0] or high > _PICTURE_RANGE[1]:
            raise ObservationChangedError(
                f"observation {leaf.name!r}: {array.dtype} values from {low:g} to {high:g} found, expected 0 to 1; "
                "divide by 255, or deliver uint8"
            )


def to_numpy(value: Any) -> NDArray[Any]:
    """A numpy array of a numpy, torch (on any device) or plain Python value; shares memory where it can."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def storable_dtype(dtype: np.dtype[Any]) -> str:
    """The column dtype for values of `dtype`.

    LeRobot's policies and their normalisation compute in float32 and fail on float64 inputs, so observations and
    actions of any floating dtype become float32, as in LeRobot's own `preprocess_observation`.
    """
    return "float32" if np.issubdtype(dtype, np.floating) else str(dtype)


def unbatched(shape: tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """`shape` without its leading 1 where it has one dimension more than `dimensions`."""
    return shape[1:] if len(shape) == dimensions + 1 and shape[0] == 1 else shape


def _flatten(space: spaces.Space[Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(space, spaces.Dict):
        yield path, space
        return
    for key, part in space.spaces.items():
        if not isinstance(key, str):
            raise EnvironmentRefused(f"observation key {key!r} found, expected text")
        yield from _flatten(part, (*path, key))


def _paths(observation: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(observation, Mapping):
        yield path
        return
    for key, part in observation.items():
        yield from _paths(part, (*path, str(key)))


def _leaf(path: tuple[str, ...], space: spaces.Space[Any], state_names: tuple[str, ...] | None) -> Leaf:
    what = f"observation {'.'.join(path)!r}" if path else "the observation"
    shape, dtype = space.shape, space.dtype
    if (
        not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)
        or shape is None
        or dtype is None
    ):
        raise EnvironmentRefused(
            f"{what} is a {type(space).__name__} space, expected Box, Discrete, MultiDiscrete, MultiBinary or a Dict "
            "of these; convert it in an observation wrapper"
        )
    if not path:
        looks_like_picture = len(unbatched(shape, 3)) == 3
        if not looks_like_picture and len(unbatched(shape, 1)) > 1:
            raise EnvironmentRefused(
                f"{what} has shape {shape}, expected a vector or a picture of three channels; name its parts in an "
                "observation wrapper"
            )
        key = "observation.image" if looks_like_picture else "observation.state"
    else:
        key = _key(path, what)
    if "image" in key:
        return Leaf(path, shape, _picture(key, what, shape, dtype))
    row_shape = _row_shape(shape)
    if len(row_shape) == 3 and dtype == np.uint8 and 3 in (row_shape[0], row_shape[-1]):
        raise EnvironmentRefused(
            f"{what} looks like a picture (shape {shape}, uint8), but pictures have 'image' in their name; rename it, "
            "for example to observation.images.front"
        )
    fits = key == "observation.state" and state_names is not None and row_shape == (len(state_names),)
    return Leaf(path, shape, Stream(key, storable_dtype(dtype), row_shape, Kind.ROW, state_names if fits else None))


def _key(path: tuple[str, ...], what: str) -> str:
    name = ".".join(path)
    if name.startswith("observation."):
        return name
    first, rest = path[0], path[1:]
    if first == "pixels":
        return ".".join(("observation.images", *rest)) if rest else "observation.image"
    if first in _NAMES:
        return ".".join((_NAMES[first], *rest))
    raise EnvironmentRefused(
        f"{what} has no place in a dataset, expected pixels, {', '.join(_NAMES)} or observation.*; rename it in an "
        f"observation wrapper, for example to observation.{name}"
    )


def _picture(key: str, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Stream:
    picture = unbatched(shape, 3)
    if len(picture) != 3 or 3 not in (picture[0], picture[2]):
        raise EnvironmentRefused(
            f"{what} has shape {shape}, expected (height, width, 3) or (3, height, width); pictures of one or four "
            "channels need a wrapper that makes them RGB"
        )
    if dtype not in (np.uint8, np.float32, np.float64):
        raise EnvironmentRefused(f"{what} has dtype {dtype}, expected uint8 in 0..255, or float32 or float64 in 0..1")
    return Stream(key, str(dtype), picture, Kind.VIDEO, HWC if picture[2] == 3 else CHW)


def _row_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[1:] if len(shape) > 1 and shape[0] == 1 else shape) or (1,)

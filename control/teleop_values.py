"""What lerobot's teleoperators say, as text and numbers and back: dictionaries, arrays, rotations, keys."""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from typing import Any

import numpy as np

from control.errors import SourceError
from transport.errors import CodecError

_TAG = "__onbeat__"
# Named, not imported: the first is lerobot's, the second needs a display.
_ROTATION, _KEY = "lerobot.utils.rotation", "pynput.keyboard"


def encode(value: Any) -> Any:
    """Dictionaries, lists, arrays, rotations and a keyboard's keys as what msgpack holds.

    Raises:
        SourceError: something else.
    """
    if isinstance(value, np.ndarray | np.generic):
        return {_TAG: "array", "dtype": str(value.dtype), "shape": list(value.shape), "data": value.tobytes()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value).__module__ == _ROTATION:
        return {_TAG: "rotation", "xyzw": [float(x) for x in value.as_quat()]}
    if isinstance(value, dict):
        return {_TAG: "map", "items": [[encode(key), encode(each)] for key, each in value.items()]}
    if isinstance(value, list | tuple):
        return [encode(each) for each in value]
    if isinstance(value, Enum) and type(value).__module__.startswith("pynput."):
        return {_TAG: "key", "name": value.name}
    raise SourceError(
        f"the teleoperator says a {type(value).__name__}, which cannot be passed on; run it in the loop's process with "
        "--teleop.proxy=false"
    )


def decode(value: Any) -> Any:
    """What `encode` made.

    Raises:
        CodecError: it is something else.
    """
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    match value.get(_TAG):
        case "map":
            return {decode(key): decode(each) for key, each in value["items"]}
        case "array":
            array = np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
            return array[()] if array.ndim == 0 else array.copy()
        case "rotation":
            return import_module(_ROTATION).Rotation.from_quat(np.array(value["xyzw"]))
        case "key":
            return import_module(_KEY).Key[value["name"]]
    raise CodecError(f"a map of {sorted(map(str, value))} found, expected one that `encode` made")

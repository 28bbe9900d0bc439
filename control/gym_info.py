"""What an environment's `info` says about a step.

Keys are text or members of an enum with a text value, as LeRobot's `TeleopEvents` has them; every key may be missing.
An event that is there both ways, as text from gym_hil's wrappers and as a member from LeRobot's pipeline, which knows
nothing of the wrappers', happened if either says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from control.gym_spaces import to_numpy

_SUCCESS = ("success", "is_success", "succeed", "next.success")
_FAILURE = ("failure", "fail", "is_failure")


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One step's `info`, read.

    Attributes:
        terminate: a teleoperator behind the environment asks to end the episode.
        is_intervention: a person or an override acted in this step.
        intervention: the action that acted in place of the one passed to `env.step`; None if that one did.
        discrete_penalty: what a gripper change costs, as HIL-SERL records it; 0.0 where there is none.
    """

    success: bool
    failure: bool
    rerecord: bool
    terminate: bool
    is_intervention: bool
    intervention: Any
    discrete_penalty: float


def read_info(info: Mapping[Any, Any]) -> StepInfo:
    """Read a step's `info`.

    An action is reported in `action_intervention` or `teleop_action`. LeRobot's wrappers put the device's reading
    there even while nobody intervenes, so where `is_intervention` is given and false the reported action did not act.
    """
    named: dict[Any, Any] = {}
    for key, value in info.items():
        name = _name(key)
        named[name] = flag(named[name]) or flag(value) if name in named else value
    intervention = named.get("action_intervention")
    if intervention is None:
        intervention = named.get("teleop_action")
    flagged = named.get("is_intervention")
    is_intervention = intervention is not None if flagged is None else flag(flagged)
    penalty = named.get("discrete_penalty")
    return StepInfo(
        success=any(flag(named.get(key)) for key in _SUCCESS),
        failure=any(flag(named.get(key)) for key in _FAILURE),
        rerecord=flag(named.get("rerecord_episode")),
        terminate=flag(named.get("terminate_episode")),
        is_intervention=is_intervention,
        intervention=intervention if is_intervention else None,
        discrete_penalty=0.0 if penalty is None else scalar(penalty),
    )


def scalar(value: Any) -> float:
    """A number out of a number, or out of a numpy or torch array of one element.

    Raises:
        ValueError, TypeError: it is no single number.
    """
    return value if type(value) is float else float(to_numpy(value).item())


def _name(key: Any) -> Any:
    return key.value if isinstance(key, Enum) and isinstance(key.value, str) else key


def flag(value: Any) -> bool:
    """A yes or no out of a bool, or out of a numpy or torch array; nothing is no."""
    if value is None or isinstance(value, bool):
        return bool(value)
    return bool(to_numpy(value).any())

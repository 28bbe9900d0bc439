"""lerobot-record's three processor pipelines: its own, or those that a function makes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lerobot.processor import make_default_processors

from transport.errors import UsageError


@dataclass(frozen=True, slots=True)
class Pipelines:
    """lerobot-record's three processor pipelines, each a callable as in `record_loop`.

    Attributes:
        look_at_pictures: False if none of them does, so that pictures may be copied after the action was sent.
    """

    teleop_action: Callable[[tuple[Any, Any]], Any]
    robot_action: Callable[[tuple[Any, Any]], Any]
    observation: Callable[[Any], Any]
    look_at_pictures: bool = True


def make_pipelines(processors: str | None) -> Pipelines:
    """lerobot-record's own pipelines, or those that a function makes.

    Raises:
        UsageError: there is no such function, it fails, or makes something else than three callables.
    """
    if processors is None:
        teleop_action, robot_action, observation = make_default_processors()
        return Pipelines(teleop_action, robot_action, observation, look_at_pictures=False)
    module, _, name = processors.partition(":")
    try:
        if "" not in sys.path:
            sys.path.append("")  # it may lie in the current folder, found last
        made = tuple(getattr(importlib.import_module(module), name)())
    except Exception as error:
        text = " ".join(f"{error}".split())
        raise UsageError(
            f"--processors={processors}: {text}; expected module:function, a function that returns three pipelines as "
            "lerobot.processor.make_default_processors does"
        ) from error
    if len(made) != 3 or not all(callable(each) for each in made):
        raise UsageError(
            f"--processors={processors} made {len(made)} objects, expected the pipelines for teleoperator action, "
            "robot action and observation"
        )
    return Pipelines(*made)

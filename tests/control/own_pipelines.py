"""Pipelines for `--processors=own_pipelines:NAME`."""

from __future__ import annotations

from typing import Any

from lerobot.processor import ObservationProcessorStep, RobotActionProcessorStep, make_default_processors


class ScaledAction(RobotActionProcessorStep):
    def __init__(self, factor: float) -> None:
        self._factor = factor

    def action(self, action: dict[str, Any]) -> dict[str, Any]:
        return {name: self._factor * value for name, value in action.items()}

    def transform_features(self, features: Any) -> Any:
        return features


class NegatedState(ObservationProcessorStep):
    """Negates numbers, and turns pictures upside down."""

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {name: -value if isinstance(value, float) else value[::-1] for name, value in observation.items()}

    def transform_features(self, features: Any) -> Any:
        return features


def halved_and_negated() -> tuple[Any, Any, Any]:
    """What is stored is half of what the leader says; what is sent is the whole of it."""
    teleop_action, robot_action, observation = make_default_processors()
    teleop_action.steps = [ScaledAction(0.5)]
    robot_action.steps = [ScaledAction(2.0)]
    observation.steps = [NegatedState()]
    return teleop_action, robot_action, observation


def two() -> tuple[Any, ...]:
    return make_default_processors()[:2]

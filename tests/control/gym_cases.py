"""Environments, who acts in them, and a loop's way through them, for tests of `control.gym_source`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from control.clock import FakeClock
from control.gym_source import GymSource
from control.source import Draft, Mark, Outcome, Source
from control.teleoperator import TeleopAction
from transport.schema import Schema

Box = spaces.Box


def draft_of(schema: Schema) -> Draft:
    """A draft as the log ring would hold it, with stale bytes of an older frame in it."""
    row = np.frombuffer(bytearray(b"\x5a" * schema.row_dtype.itemsize), schema.row_dtype)[0:1].reshape(())
    return Draft(row, [np.full(stream.shape, 90, stream.dtype) for stream in schema.pictures])


class Counting(gymnasium.Env[Any, Any]):
    """Delivers the number of steps since the reset in every array, in buffers that it reuses in every step."""

    metadata = {"render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Dict({"pixels": Box(0, 255, (8, 6, 3), np.uint8), "agent_pos": Box(-1e6, 1e6, (2,))})
    action_space: spaces.Space[Any] = Box(-9, 9, (3,), np.float32)

    def __init__(self, info: Callable[[int], dict[Any, Any]] = lambda step: {}, ends_at: int | None = None) -> None:
        self.info = info
        self.ends_at = ends_at
        self.steps = 0
        self.taken: list[Any] = []
        self.seeds: list[int | None] = []
        self.closed = 0
        self.buffers = {"pixels": np.zeros((8, 6, 3), np.uint8), "agent_pos": np.zeros(2, np.float32)}

    def observe(self) -> Any:
        for buffer in self.buffers.values():
            buffer[...] = self.steps
        return self.buffers

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[Any, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.steps = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[Any, Any]]:
        self.taken.append(np.array(action))
        if isinstance(action, np.ndarray):
            action[...] = -77
        self.steps += 1
        return self.observe(), self.steps / 100, self.steps == self.ends_at, False, self.info(self.steps)

    def close(self) -> None:
        self.closed += 1


class Ramp:
    """A policy whose action tells which observation it saw."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def select_action(self, observation: Any) -> Any:
        return torch.full((1, 3), float(observation["agent_pos"][0]) + 0.5)


class Script:
    """A teleoperator that plays a list of actions, one a tick."""

    def __init__(self, actions: list[TeleopAction]) -> None:
        self.actions = actions
        self.infos: list[Any] = []
        self.tick = 0
        self.resets = 0
        self.closed = 0

    def reset(self) -> None:
        self.resets += 1
        self.tick = 0

    def act(self, observation: Any, info: Any) -> TeleopAction:
        self.infos.append(info)
        self.tick += 1
        return self.actions[min(self.tick, len(self.actions)) - 1]

    def close(self) -> None:
        self.closed += 1


def source_of(env: Any, **kwargs: Any) -> GymSource:
    if not {"policy", "teleoperator", "neutral_action"} & set(kwargs):
        kwargs["policy"] = Ramp()
    return GymSource(env, **{"clock": FakeClock(), **kwargs})


def play(source: Source, frames: int, mark: Mark = Mark(0.0, False)) -> tuple[list[Draft], list[Outcome]]:  # noqa: B008
    """Record an episode the way the loop does, every frame into a draft of its own."""
    drafts = [draft_of(source.schema)]
    outcomes: list[Outcome] = []
    source.begin(drafts[0])
    while True:
        outcomes.append(source.tick(drafts[-1]))
        source.finish(drafts[-1], mark)
        if len(drafts) == frames:
            return drafts, outcomes
        drafts.append(draft_of(source.schema))
        source.stage(drafts[-1])


def actions(drafts: list[Draft]) -> list[list[float]]:
    return [draft.row["action"].tolist() for draft in drafts]


def act(value: float, **events: bool) -> TeleopAction:
    return TeleopAction(np.full(3, value, np.float32), **events)

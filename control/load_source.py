"""A simulated robot that puts a load on everything behind it: a bus that blocks, cameras, and nothing that moves.

A tick is the one of a robot on a serial bus: read the joints (the bus blocks), take the cameras' newest pictures, send
the action (the bus blocks again), fill the frame. What the cameras show comes from memory: synthetic pictures, or the
frames of a recorded dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from control.clock import Clock
from control.load_trace import TickTrace
from control.source import Draft, Mark, Outcome
from transport.schema import Schema

# A read asks every joint and waits for all the answers, a write is sent to all at once.
READ_PART = 0.75


class LoadFrames(Protocol):
    """Where the frames of a load come from. Everything is in memory before the first tick."""

    @property
    def schema(self) -> Schema: ...

    @property
    def robot_type(self) -> str | None: ...

    def frames_of(self, episode: int) -> int:
        """How many frames an episode has."""

    def fill(self, episode: int, frame: int, row: NDArray[np.void], pictures: Sequence[NDArray[Any]]) -> None:
        """Copy a frame's columns (telemetry aside) and pictures into place."""


class LoadSource:
    """Implements `control.source.Source`.

    Args:
        step_ms: how long the simulated bus blocks in every tick.
        clock: sleeps as the bus would; give one that does not spin.
        trace: gets every tick.
    """

    may_step_after_end = False

    def __init__(self, frames: LoadFrames, step_ms: float, clock: Clock, trace: TickTrace) -> None:
        self.schema = frames.schema
        self.robot_type = frames.robot_type
        self._frames = frames
        self._read_ns = int(step_ms * 1e6 * READ_PART)
        self._write_ns = int(step_ms * 1e6) - self._read_ns
        self._clock = clock
        self._trace = trace
        self._episode = -1
        self._frame = 0
        self._published: NDArray[np.void] | None = None

    def begin(self, draft: Draft) -> None:
        self._note_tick()
        self._episode += 1
        self._frame = 0

    def tick(self, draft: Draft) -> Outcome:
        clock = self._clock
        entered_ns = clock.now_ns()
        clock.sleep_until_ns(entered_ns + self._read_ns)
        action_sent_ns = clock.now_ns()
        clock.sleep_until_ns(action_sent_ns + self._write_ns)
        self._frames.fill(self._episode, self._frame, draft.row, draft.pictures)
        self._frame += 1
        return Outcome(
            action_sent_ns,
            truncated=self._frame >= self._frames.frames_of(self._episode),
            sections_ns={"env.step": clock.now_ns() - entered_ns},
        )

    def finish(self, draft: Draft, mark: Mark) -> None:
        # Columns that the rules decide are replayed as they were recorded, or do not exist.
        self._published = draft.row

    def stage(self, draft: Draft) -> None:
        self._note_tick()

    def idle(self) -> None:
        """Nothing moves between episodes."""

    def close(self, *, failed: bool = False) -> None:
        self._note_tick()

    def _note_tick(self) -> None:
        # The loop writes its own numbers into the row after `finish`; the slot keeps them for many ticks.
        if self._published is not None:
            self._trace.append(self._episode, self._published)
            self._published = None

"""Where frames come from: the interface between the loop and an environment or a robot.

A source owns its columns (`schema`) and the order of things inside a tick. The loop owns the clock, the log and the
episode rules. For one frame they meet four times:

    source.begin(draft)         before the first frame: reset, leave the first observation in the draft
    source.tick(draft)          act and look; fill what is known; return what happened
    source.finish(draft, mark)  the rules have spoken: fill reward and done
    source.stage(draft)         after the frame is published, with time to spare: look ahead into the next draft

A gymnasium source steps on the observation in hand, so its pictures are staged after the previous frame and nothing
is copied between the deadline and the action. A robot source reads, acts and fills everything inside `tick`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from transport.schema import Schema

Observation = Any


@dataclass(slots=True)
class Draft:
    """One frame being filled; its arrays lie in the log ring, so filling it is the only copy the loop makes.

    Attributes:
        row: a zero-dimensional record of `schema.row_dtype`; assign by key: `draft.row["action"] = values`.
        pictures: one array per `schema.pictures`, in the stream's own dtype, shape and layout; `np.copyto` into them.
    """

    row: NDArray[np.void]
    pictures: Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tick did.

    Attributes:
        action_sent_ns: the injected clock's time at which the action was handed to the robot or to `env.step`.
        reward: the environment's reward; 0.0 where there is none.
        terminated, truncated: the environment's own end of the episode.
        success, failure: what `info` or a teleoperator's events say; the reward is judged by the rules, not here.
        rerecord: the operator or the environment asks to record this episode again.
        stop: a teleoperator asks to end the session.
        is_intervention: a person or an override acted instead of the policy.
        sections_ns: time spent by section ("policy", "teleop", "env.step", ...), for the report on slow ticks.
    """

    action_sent_ns: int
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    failure: bool = False
    rerecord: bool = False
    stop: bool = False
    is_intervention: bool = False
    sections_ns: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the rules say about a frame, for the columns `next.reward` and `next.done` of sources that have them."""

    reward: float
    done: bool


class Source(Protocol):
    """An environment or a robot that is recorded."""

    @property
    def schema(self) -> Schema:
        """The streams of every frame; fixed for the life of the source."""

    @property
    def may_step_after_end(self) -> bool:
        """Whether `tick` may be called after terminated, to collect padding rows."""

    @property
    def robot_type(self) -> str | None:
        """LeRobot's `robot_type` of the dataset."""

    def begin(self, draft: Draft) -> None:
        """Reset for a new episode and leave what is known of frame 0 in `draft`.

        Raises:
            SourceError: the environment or robot cannot be reset, or delivers another shape than it declared.
        """

    def tick(self, draft: Draft) -> Outcome:
        """Act once and look once, in the source's own order.

        Raises:
            SourceError: the step failed, or an observation changed its shape or dtype.
        """

    def finish(self, draft: Draft, mark: Mark) -> None:
        """Fill the columns that the episode rules decide."""

    def stage(self, draft: Draft) -> None:
        """Leave what is already known of the next frame in `draft`."""

    def idle(self) -> None:
        """One tick of the reset phase: nothing is recorded; a robot still follows its teleoperator."""

    def close(self, *, failed: bool = False) -> None:
        """Release the environment or robot; after a failure leave a robot as `--robot.on_fault` says. May be called
        twice; the first call counts."""

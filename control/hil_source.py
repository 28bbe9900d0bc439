"""HIL-SERL's `control_loop` as a source of frames: (o_t, a_t, r_{t+1}, done_{t+1}) out of lerobot's own transitions.

A tick is one call of lerobot's `step_env_and_process_transition`, so that environment, teleoperator and processors run
where lerobot runs them. What the step returns is the next frame's observation; it is copied in `stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from control.clock import Clock
from control.errors import ObservationChangedError, SourceError
from control.gym_info import flag, read_info, scalar
from control.gym_make import one_line
from control.gym_spaces import to_numpy
from control.hil_features import PENALTY, columns
from control.source import Draft, Mark, Outcome
from transport.errors import OnbeatError
from transport.schema import Kind, Schema, Stream

Transition = Mapping[Any, Any]
_RESETS = 3


class Rollout(Protocol):
    """An environment with HIL-SERL's processors around it."""

    @property
    def sent_ns(self) -> int:
        """When the last step handed its action to the environment."""

    @property
    def returned_ns(self) -> int:
        """When the environment came back from it."""

    def reset(self) -> Transition:
        """Begin an episode; returns its first transition, processed."""

    def step(self) -> Transition:
        """Act once; returns the transition, processed."""

    def close(self, *, failed: bool) -> None:
        """Release everything, after a failure as `--robot.on_fault` says. May be called twice."""


class Sidecar(Protocol):
    """What is noted of a robot beside the columns.

    Attributes:
        streams: the telemetry of each frame.
    """

    streams: tuple[Stream, ...]

    def begin(self) -> None:
        """A new episode begins."""

    def idle(self) -> None:
        """One tick in which nothing is recorded."""

    def note_observation(self, row: NDArray[np.void]) -> None:
        """Fill what is known of the observation that the frame begins with."""

    def note_action(self, row: NDArray[np.void]) -> None:
        """Fill what is known of the frame's action."""

    def summary(self) -> str:
        """One line for people on what went wrong in the episode; empty if nothing did."""


class HilSource:
    """Implements `control.source.Source`.

    Args:
        action: how lerobot describes the action (see `control.hil_features.columns`).
        first: a processed transition, which declares the columns.
        counts_success: whether a success ends the episode; else it is a reward of 1.0 in its row alone, as
            `terminate_on_success: false` has it.
        sidecar: of a robot; None for a simulation.

    Raises:
        EnvironmentRefused: as `columns`.
        SchemaError: something that LeRobot cannot hold.
    """

    may_step_after_end = True
    # control_loop creates its dataset without one.
    robot_type = None

    def __init__(
        self,
        rollout: Rollout,
        action: Mapping[str, Any],
        first: Transition,
        *,
        clock: Clock,
        use_gripper: bool,
        counts_success: bool,
        log: Callable[[str], None],
        sidecar: Sidecar | None = None,
    ) -> None:
        self._rollout, self._clock, self._log, self._sidecar = rollout, clock, log, sidecar
        self._use_gripper, self._counts_success = use_gripper, counts_success
        found = columns(action, first["observation"], use_gripper=use_gripper)
        self._action, self._observed = found.action, found.observed
        self.schema = Schema(found.streams, sidecar.streams if sidecar is not None else ())
        self._arrays: list[NDArray[Any]] = []

    def begin(self, draft: Draft) -> None:
        if self._sidecar is not None:
            self._sidecar.begin()
        with _failing_as("the environment's reset"):
            self._look(self._reset())
        self.stage(draft)

    def tick(self, draft: Draft) -> Outcome:
        rollout = self._rollout
        started_ns = self._clock.now_ns()
        with _failing_as("the environment's step"):
            transition = rollout.step()
        self._look(transition)
        with _failing_as("reading the environment's step"):
            said = read_info(transition["info"])
            data = transition["complementary_data"]
            draft.row["action"] = self._action_of(data.get("teleop_action", transition["action"]))
            if self._use_gripper:
                draft.row[PENALTY] = scalar(data.get("discrete_penalty", 0.0))
            if self._sidecar is not None:
                self._sidecar.note_action(draft.row)
            return Outcome(
                action_sent_ns=rollout.sent_ns,
                reward=scalar(transition["reward"]),
                terminated=flag(transition["done"]),
                truncated=flag(transition["truncated"]),
                success=said.success and self._counts_success,
                failure=said.failure,
                rerecord=said.rerecord,
                is_intervention=said.is_intervention,
                sections_ns={
                    "teleop": rollout.sent_ns - started_ns,
                    "env.step": rollout.returned_ns - rollout.sent_ns,
                    "processors": self._clock.now_ns() - rollout.returned_ns,
                },
            )

    def finish(self, draft: Draft, mark: Mark) -> None:
        draft.row["next.reward"] = mark.reward
        draft.row["next.done"] = mark.done
        if mark.done and self._sidecar is not None and (said := self._sidecar.summary()):
            self._log(said)

    def stage(self, draft: Draft) -> None:
        pictures = iter(draft.pictures)
        for stream, array in zip(self._observed, self._arrays, strict=True):
            target = draft.row[stream.key] if stream.kind is Kind.ROW else next(pictures)
            np.copyto(target, array, casting="same_kind")
        if self._sidecar is not None:
            self._sidecar.note_observation(draft.row)

    def idle(self) -> None:
        """Nothing moves: HIL-SERL has no phase between an episode and its environment's reset."""
        if self._sidecar is not None:
            self._sidecar.idle()

    def close(self, *, failed: bool = False) -> None:
        self._rollout.close(failed=failed)

    def _reset(self) -> Transition:
        for _ in range(_RESETS - 1):
            # A bus without an answer: a robot that is moved to its place asks once, and can be moved again.
            with suppress(OSError):
                return self._rollout.reset()
        return self._rollout.reset()

    def _look(self, transition: Transition) -> None:
        observation = transition["observation"]
        arrays = []
        for stream in self._observed:
            if stream.key not in observation:
                raise ObservationChangedError(f"observation {stream.key!r} is missing; it was there at the start")
            array = to_numpy(observation[stream.key])[0]
            if array.shape != stream.shape:
                raise ObservationChangedError(
                    f"observation {stream.key!r}: shape {array.shape} found, expected {stream.shape} as at the start"
                )
            arrays.append(array)
        self._arrays = arrays

    def _action_of(self, value: Any) -> NDArray[Any]:
        action = to_numpy(value)
        if action.size != np.prod(self._action.shape):
            raise SourceError(
                f"an action of shape {action.shape} found, expected {self._action.shape} as the teleoperator describes "
                "it; check use_gripper of env.processor.gripper and env.teleop"
            )
        return action.reshape(self._action.shape)


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    try:
        yield
    except OnbeatError:
        raise
    except Exception as error:
        raise SourceError(f"{what} failed: {one_line(error)}") from error

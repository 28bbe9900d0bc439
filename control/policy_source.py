"""A source whose actions come from a policy in a process of its own: an environment or a robot, unchanged.

The observation that the source leaves in the log ring is where the policy reads it; the loop copies nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from control.errors import SourceError
from control.policy_actor import TELEMETRY, PolicyActor
from control.source import Draft, Mark, Outcome, Source
from control.teleoperator import TeleopAction, Teleoperator
from transport.schema import Schema


class PolicySource:
    """Implements `control.source.Source` around another that asks the actor for its actions.

    Args:
        look: for sources that read inside the tick: leaves an observation in the draft before the first one.
        acted: told the action that was recorded, after every tick.
        release: ends the policy's process.
    """

    def __init__(
        self,
        source: Source,
        actor: PolicyActor,
        *,
        look: Callable[[Draft], None] | None = None,
        acted: Callable[[NDArray[Any]], None] = lambda action: None,
        log: Callable[[str], None],
        release: Callable[[], None],
    ) -> None:
        self._source, self._actor, self._look, self._acted = source, actor, look, acted
        self._log, self._release = log, release
        inner = source.schema
        self.schema = Schema(inner.streams, (*inner.telemetry, *TELEMETRY))

    @property
    def may_step_after_end(self) -> bool:
        return self._source.may_step_after_end

    @property
    def robot_type(self) -> str | None:
        return self._source.robot_type

    def begin(self, draft: Draft) -> None:
        self._source.begin(draft)

    def starts(self, draft: Draft, check: Callable[[], None]) -> None:
        """The episode is in the log, and its frame 0 in this draft: wait for the policy's action for the first tick.

        Args:
            check: raises when the session is to end.

        Raises:
            SourceError: the policy has died, or takes too long.
        """
        if self._look is not None:
            self._look(draft)
        self._actor.begin()
        self._actor.observed()
        self._actor.await_first(check)

    def tick(self, draft: Draft) -> Outcome:
        actor = self._actor
        outcome = self._source.tick(draft)
        if outcome.is_intervention:
            actor.intervened()
        elif actor.by_person:
            outcome = replace(outcome, is_intervention=True)
        self._acted(draft.row["action"])
        if self._look is not None:
            actor.observed()
        actor.close_tick(draft.row)
        return outcome

    def finish(self, draft: Draft, mark: Mark) -> None:
        self._source.finish(draft, mark)
        if mark.done and (summary := self._actor.summary):
            self._log(summary)

    def stage(self, draft: Draft) -> None:
        self._source.stage(draft)
        if self._look is None:
            self._actor.observed()

    def idle(self) -> None:
        self._actor.resetting = True
        self._source.idle()

    def close(self, *, failed: bool = False) -> None:
        try:
            self._source.close(failed=failed)
        finally:
            self._release()


class EnvPolicy:
    """Implements `control.gym_source.Policy` with the actor's actions; holds where there is none.

    Args:
        space: the environment's action space.
        neutral: what moves nothing, in environments whose actions are deltas; None repeats the last action, which is
            right where actions are absolute targets.
    """

    def __init__(self, actor: PolicyActor, space: gymnasium.Space[Any], neutral: Any) -> None:
        self._actor, self._neutral = actor, neutral
        self._shape, self._dtype = space.shape, space.dtype
        self._last: NDArray[Any] | None = None

    def acted(self, action: NDArray[Any]) -> None:
        """What was recorded in the tick before, whoever decided it."""
        self._last = action.copy()

    def select_action(self, observation: Any) -> Any:
        row = self._actor.choose()
        if row is not None:
            action = row.reshape(self._shape)
            whole = self._dtype is not None and np.issubdtype(self._dtype, np.integer)
            return np.rint(action).astype(self._dtype) if whole else action
        if self._neutral is not None:
            return self._neutral
        if self._last is None:
            raise SourceError("the policy has no action for the first frame, and there is none to hold")
        return self._last


class Intervening:
    """A teleoperator that leaves the ticks to a policy, but for those in which a person takes over.

    That is when it says so itself (`TeleopAction.is_intervention`), or after the operator's key until the next.
    """

    def __init__(self, teleoperator: Teleoperator, actor: PolicyActor) -> None:
        self._teleoperator, self._actor = teleoperator, actor

    def reset(self) -> None:
        self._teleoperator.reset()

    def act(self, observation: Any, info: Any) -> TeleopAction:
        choice = self._teleoperator.act(observation, info)
        if choice.is_intervention or choice.action is None:
            return choice
        if self._actor.person:
            return replace(choice, is_intervention=True)
        return replace(choice, action=None)

    def close(self) -> None:
        self._teleoperator.close()

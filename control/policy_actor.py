"""What the loop does with a policy's answers: one action a tick, or none, and an account of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.errors import SourceError
from control.policy_client import PolicyClient, await_first
from control.policy_memory import Actions
from control.policy_plan import Follower
from transport.ring import LogRing
from transport.schema import Stream


class Acted(IntEnum):
    """Who acted in a tick; `onbeat.policy.acted` of the sidecar."""

    HELD = 0
    POLICY = 1
    PERSON = 2


TELEMETRY = (
    Stream("onbeat.policy.acted", "uint8", (1,)),
    # Number of the answer that acted, and the frame whose observation it answers; 0 and -1 where none did.
    Stream("onbeat.policy.answer", "uint32", (1,)),
    Stream("onbeat.policy.observed_frame", "int32", (1,)),
    Stream("onbeat.policy.inference_us", "uint32", (1,)),
)


class PolicyActor:
    """One session. Per tick: `choose` or `intervened` (or both, a person's action counts), then `close_tick`.

    Args:
        log: takes lines for the operator; must not wait.

    Attributes:
        resetting: it is the reset phase, in which nothing is recorded and the policy does not act.
    """

    def __init__(self, client: PolicyClient, fps: int, log: Callable[[str], None]) -> None:
        self._client, self._log = client, log
        self._limit = max(round(client.flags.max_held_s * fps), 1)
        self._follower = Follower()
        self._ring: LogRing | None = None
        self._toggles: Callable[[], int] = int
        self._toggles_before = self._episode = self._tick = self._not_before = self._number = 0
        self._acted = Acted.HELD
        self._held_in_a_row = self._held = self._by_person = 0
        self._told_death = False
        self._lacking = ""
        self.resetting = False

    def join(self, ring: LogRing, toggles: Callable[[], int]) -> None:
        """The session's log, and the operator's key."""
        self._ring, self._toggles = ring, toggles
        self._client.join(ring)

    # -- an episode ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new episode, whose first frame is the ring's next record."""
        assert self._ring is not None
        assert self._client.memory is not None
        self._follower.forget()
        self.resetting = False
        self._tick = self._not_before = self._held_in_a_row = self._held = self._by_person = 0
        self._toggles_before = self._toggles()
        self._number = self._client.memory.newest
        self._episode = self._client.memory.begin_episode(self._ring.head_seq + 1)

    def await_first(self, check: Callable[[], None]) -> None:
        """The first observation was `observed`; wait for its answer.

        Args:
            check: raises when the session is to end.

        Raises:
            SourceError: the policy has died, or takes too long.
        """
        await_first(self._client, self._episode, check)

    def observed(self) -> None:
        """The observation of the tick that comes next, or of the one just ended, is in its slot."""
        assert self._client.memory is not None
        self._client.memory.observe(self._tick)
        self._client.wake()

    @property
    def person(self) -> bool:
        """Whether the operator has taken over by key in this episode."""
        return (self._toggles() - self._toggles_before) % 2 == 1

    @property
    def by_person(self) -> bool:
        """Whether a person acted in this tick, as far as is known."""
        return self._acted is Acted.PERSON

    # -- a tick --------------------------------------------------------------------------------------------------

    def choose(self, *, person: bool = False) -> Actions | None:
        """The policy's action for this tick, shape (elements,); None: hold.

        What a policy that has died had planned is not used up: nobody would correct it.

        Args:
            person: a person has taken over, whose action cannot be had: the policy does not act for them.
        """
        memory = self._client.memory
        assert memory is not None
        self._lacking = "a person took over, and the teleoperator has no action" if person else "the policy is too slow"
        if person or self._client.death():
            self._acted = Acted.HELD
            return None
        if memory.newest != self._number:
            answer = memory.read_newest()
            if answer is not None:
                self._number = answer.number
                if answer.episode == self._episode:
                    self._follower.offer(answer)
        index = self._follower.row(self._tick, self._not_before)
        answer = self._follower.answer
        if index is None or answer is None:
            self._acted = Acted.HELD
            return None
        self._acted = Acted.POLICY
        row: Actions = answer.actions[index]
        return row

    def intervened(self) -> None:
        """A person acted in this tick: what the policy planned before is out of date."""
        assert self._client.memory is not None
        self._acted = Acted.PERSON
        self._not_before = self._tick + 1
        self._client.memory.set_not_before(self._not_before)

    def close_tick(self, row: NDArray[np.void]) -> None:
        """Put the account of this tick into its row.

        Raises:
            SourceError: nobody has acted for too long.
        """
        answer = self._follower.answer if self._acted is Acted.POLICY else None
        number, observed, inference_us = (
            (0, -1, 0) if answer is None else (answer.number, answer.observed, answer.inference_us)
        )
        values: tuple[Any, ...] = (self._acted, number, observed, inference_us)
        for stream, value in zip(TELEMETRY, values, strict=True):
            row[stream.key] = value
        self._tick += 1
        if self._acted is Acted.HELD:
            self._hold()
        else:
            self._held_in_a_row = 0
            self._by_person += self._acted is Acted.PERSON

    @property
    def summary(self) -> str:
        """One line for people on the episode; empty while the policy acted in every tick."""
        if not (self._held or self._by_person):
            return ""
        return (
            f"policy: of {self._tick} frames {self._held} held because no action was ready, {self._by_person} by a "
            "person"
        )

    def _hold(self) -> None:
        self._held += 1
        self._held_in_a_row += 1
        death = self._client.death()
        if death and not self._told_death:
            self._told_death = True
            self._log(f"{death}; holding, the episode is aborted after {self._client.flags.max_held_s:g} s")
        if self._held_in_a_row >= self._limit:
            raise SourceError(
                f"{death or self._lacking}: nothing to do for {self._held_in_a_row} frames in a row "
                "(--policy.max_held_s)"
            )

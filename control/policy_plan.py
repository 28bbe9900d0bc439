"""Which action of which answer is for a tick, and when the policy is to be asked again: pure, counted in ticks.

Row i of an answer to the observation of tick t is for tick t + i. An answer that comes late has lost its first rows and
is used from the row of its tick on; when the newest answer has no row for a tick, the tick is held. An answer of one
row has nothing else to offer: it is used in the first tick after it came, however old it is, and once.

The policy is asked again so that the next answer is there when the present one has been used for as many rows as the
policy itself would (`n_action_steps`): as many ticks before as the slowest of the last answers took. A policy that
answers within a tick is asked exactly when lerobot's `select_action` would infer.
"""

from __future__ import annotations

from collections import deque

from control.policy_memory import Answer, Request

_REMEMBERED_DELAYS = 4


class Follower:
    """The loop's side. Per tick: `offer` whatever is new, then `row`."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self._used = 0

    def forget(self) -> None:
        """A new episode begins."""
        self.answer = None

    def offer(self, answer: Answer) -> None:
        """A newer answer of this episode."""
        self.answer = answer

    def row(self, tick: int, not_before: int) -> int | None:
        """The row of the answer in hand that is for `tick`; None: hold.

        Args:
            not_before: answers to earlier observations are out of date, because a person acted since.
        """
        answer = self.answer
        if answer is None or answer.observed < not_before:
            return None
        rows = len(answer.actions)
        index = tick - answer.observed
        if rows == 1:
            index = 0 if self._used != answer.number else 1
        if index >= rows:
            return None
        self._used = answer.number
        return index


class Cadence:
    """The policy's side, for policies that answer with chunks.

    Args:
        steps: rows of an answer after which the policy would be asked again (`n_action_steps`).
        delay: ticks that the first answers will take, from the warm-up.
    """

    def __init__(self, steps: int, delay: int) -> None:
        self._steps = steps
        self._delays = deque([delay], maxlen=_REMEMBERED_DELAYS)
        self._due = 0
        self._answered = -1

    def begin(self) -> None:
        """A new episode: asked as soon as there is an observation."""
        self._due, self._answered = 0, -1

    def wants(self, request: Request) -> bool:
        """Whether to answer the newest observation now."""
        observed = request.observed
        if observed <= self._answered:
            return False
        return observed >= self._due or self._answered < request.not_before <= observed

    def answered(self, observed: int, rows: int, next_tick: int) -> None:
        """An answer of `rows` rows was given; `next_tick` is the first that can use it."""
        delay = max(next_tick - observed, 0)
        self._delays.append(delay)
        self._answered = observed
        runs_out = observed + min(delay + self._steps, rows)
        self._due = runs_out - max(self._delays)

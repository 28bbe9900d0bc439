"""When an episode ends and what `next.reward` and `next.done` say: a pure state machine, counted in rows.

One call of `EpisodeRules.observe` per recorded row. When several things happen in one tick, the first of these is
the reason for the end:

    RERECORD                the operator, a teleoperator or the environment asks to record again
    FAILURE                 the operator or `info` says that the episode failed
    SUCCESS                 `steps_after_success` rows have been recorded, the detecting one included; or success was
                            detected and the environment (or the time limit) lets no further row follow
    TERMINATED, TRUNCATED   the environment's own end, without success
    STOP                    end the session; the episode so far is kept
    NEXT                    end the episode; it is kept
    TIME_LIMIT              this was row number `max_ticks`

An abort comes before all of them and is no row: `abort` marks nothing. A stop is carried in `Decision.stop` even
where another reason wins, because the session has to end all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from control.source import Mark, Outcome
from transport.errors import UsageError
from transport.records import EndReason


@dataclass(frozen=True, slots=True)
class EpisodeConfig:
    """What the user set.

    Attributes:
        max_ticks: rows of an episode at most; None for no limit.
        steps_after_success: rows with reward 1.0, including the one in which success is detected; 0 means 1.
        success_reward: a reward equal to this is a success; None leaves the reward alone.
        may_step_after_end: whether rows may follow the environment's own end to complete `steps_after_success`.

    Raises:
        UsageError: a number out of range.
    """

    max_ticks: int | None
    steps_after_success: int = 1
    success_reward: float | None = None
    may_step_after_end: bool = False

    def __post_init__(self) -> None:
        if self.max_ticks is not None and self.max_ticks < 1:
            raise UsageError(f"a time limit of {self.max_ticks} ticks found, expected at least 1; raise the limit")
        if self.steps_after_success < 0:
            raise UsageError(f"{self.steps_after_success} steps after success found, expected at least 0")


@dataclass(frozen=True, slots=True)
class OperatorEvents:
    """What the operator asked for since the last tick; each is true in one tick only.

    `start` and `undo` mean something between two episodes only (`control.session_rules`).
    """

    next: bool = False
    rerecord: bool = False
    stop: bool = False
    success: bool = False
    failure: bool = False
    start: bool = False
    undo: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say about one row.

    Attributes:
        mark: the row's reward and done. `done` is true on the last row of every episode but a re-recorded one.
        ended: why this row is the last one; None while the episode goes on.
        stop: the session is to end too, whatever `ended` says.
    """

    mark: Mark
    ended: EndReason | None = None
    stop: bool = False


class EpisodeRules:
    """The rules for one episode; make a new one for the next.

    From the row in which success is detected on, every row has reward 1.0. A failure or a re-record in the very tick
    of a first success wins: that success does not count.
    """

    def __init__(self, config: EpisodeConfig) -> None:
        self._config = config
        self._frames = 0
        self._success_rows = 0
        self._ended: EndReason | None = None

    @property
    def frames(self) -> int:
        """Rows observed so far."""
        return self._frames

    @property
    def ended(self) -> EndReason | None:
        return self._ended

    @property
    def success_detected(self) -> bool:
        return self._success_rows > 0

    def observe(self, outcome: Outcome, operator: OperatorEvents) -> Decision:
        """Judge the row that was just recorded.

        Raises:
            RuntimeError: the episode has already ended.
        """
        if self._ended is not None:
            raise RuntimeError(f"a row found after the episode ended ({self._ended}), expected a new EpisodeRules")
        self._frames += 1
        rerecord = outcome.rerecord or operator.rerecord
        failure = outcome.failure or operator.failure
        if self.success_detected or (self._is_success(outcome, operator) and not rerecord and not failure):
            self._success_rows += 1
        stop = outcome.stop or operator.stop

        if rerecord:
            self._ended = EndReason.RERECORD
        elif failure:
            self._ended = EndReason.FAILURE
        elif self._success_is_complete(outcome):
            self._ended = EndReason.SUCCESS
        elif outcome.terminated and not self.success_detected:
            self._ended = EndReason.TERMINATED
        elif outcome.truncated and not self.success_detected:
            self._ended = EndReason.TRUNCATED
        elif stop:
            self._ended = EndReason.STOP
        elif operator.next:
            self._ended = EndReason.NEXT
        elif self._is_last_row:
            self._ended = EndReason.TIME_LIMIT

        reward = 1.0 if self.success_detected else outcome.reward
        return Decision(Mark(reward, done=self._ended not in (None, EndReason.RERECORD)), self._ended, stop)

    def abort(self) -> EndReason:
        """End the episode without a row, because of a fault: no row is marked, `next.done` stays false.

        Raises:
            RuntimeError: the episode has already ended.
        """
        if self._ended is not None:
            raise RuntimeError(f"an abort found after the episode ended ({self._ended})")
        self._ended = EndReason.ABORTED
        return self._ended

    @property
    def _is_last_row(self) -> bool:
        return self._config.max_ticks is not None and self._frames >= self._config.max_ticks

    def _is_success(self, outcome: Outcome, operator: OperatorEvents) -> bool:
        threshold = self._config.success_reward
        return outcome.success or operator.success or (threshold is not None and outcome.reward == threshold)

    def _success_is_complete(self, outcome: Outcome) -> bool:
        if not self.success_detected:
            return False
        env_ended = (outcome.terminated or outcome.truncated) and not self._config.may_step_after_end
        return self._success_rows >= self._config.steps_after_success or env_ended or self._is_last_row

"""The episodes of a session: which are kept, what follows which, and when it is over; a pure state machine.

As lerobot-record does it: a reset phase follows every episode except the last one to be recorded, and also one that
is to be recorded again. The verdict on an episode is given when the next one begins, so that the operator can still
take it back until then. The order of calls:

    while pause is not None:            the start gate before the first episode
        gate_tick(...)
    while not finished:
        begin_episode()
        ... rows ...
        episode_ended(...)
        while pause is not None:        what is between two episodes, in this order; each may be absent
            reset_tick(...)   for Pause.RESET
            gate_tick(...)    for Pause.GATE
            review_tick(...)  for Pause.REVIEW
        verdict()

What the operator's keys do in a pause: re-record discards the episode just recorded and ends the reset phase; undo
discards it and ends nothing; next ends the reset phase; start ends it too, and opens the gate; stop ends the session
and keeps the episode. A stop during an episode keeps it and ends the session without a pause.

After the last episode nothing follows in which it could be undone, unless a review is asked for: it lasts until the
operator starts, which ends the session, or discards the episode, which is then recorded again.
"""

from __future__ import annotations

from enum import Enum, auto

from control.episode_rules import OperatorEvents
from transport.errors import UsageError
from transport.records import EndReason, Judgement


class Pause(Enum):
    """What is between two episodes."""

    RESET = auto()
    GATE = auto()
    REVIEW = auto()


class _Phase(Enum):
    READY = auto()
    EPISODE = auto()
    PAUSE = auto()
    UNDECIDED = auto()


class SessionRules:
    """The rules for one session.

    Args:
        num_episodes: how many episodes are to be kept.
        reset_ticks: length of the reset phase in ticks; 0 for none.
        gate: whether each episode waits at a gate, the first one too.
        by_key: whether it waits there for the start key; else only until `gate_tick` is told that all is ready.
        review_last: whether the last episode waits for the operator too.

    Raises:
        UsageError: a negative number.
    """

    def __init__(
        self,
        num_episodes: int,
        reset_ticks: int,
        *,
        gate: bool = False,
        by_key: bool = False,
        review_last: bool = False,
    ) -> None:
        if num_episodes < 0:
            raise UsageError(f"{num_episodes} episodes found, expected at least 0")
        if reset_ticks < 0:
            raise UsageError(f"a reset phase of {reset_ticks} ticks found, expected at least 0")
        self._num_episodes = num_episodes
        self._reset_ticks = reset_ticks
        self._has_gate, self._by_key, self._review_last = gate, by_key, review_last
        self._begun = 0
        self._recorded = 0
        self._ticks_in_reset = 0
        self._stopped = False
        self._started = False
        self._judgement: Judgement | None = None
        waits = gate and num_episodes > 0
        self._phase, self._pause = (_Phase.PAUSE, Pause.GATE) if waits else (_Phase.READY, Pause.RESET)

    @property
    def recorded(self) -> int:
        """Episodes kept so far."""
        return self._recorded

    @property
    def next_id(self) -> int:
        """The id that the next episode will have."""
        return self._begun

    @property
    def stopped(self) -> bool:
        """Whether the operator or a fault ended the session; no pause and no episode follows."""
        return self._stopped

    @property
    def finished(self) -> bool:
        """Whether no further episode may begin. Never true while an episode has no verdict."""
        return self._phase is _Phase.READY and (self._stopped or self._recorded >= self._num_episodes)

    @property
    def pause(self) -> Pause | None:
        """Where the session waits; None while an episode runs, and when the next call is not a tick of a pause."""
        return self._pause if self._phase is _Phase.PAUSE else None

    @property
    def judgement(self) -> Judgement | None:
        """What the verdict on the last episode would be now; None when no episode waits for one."""
        return self._judgement

    @property
    def another_follows(self) -> bool:
        """Whether an episode follows the one that waits for its verdict."""
        return not self._stopped and not self._is_last

    def begin_episode(self) -> int:
        """Begin the next episode.

        Returns:
            Its id: the session's own count from 0, kept or not.

        Raises:
            RuntimeError: the session is finished, or the episode before this one has no verdict yet.
        """
        if self.finished:
            raise RuntimeError("an episode found to begin after the session finished")
        self._expect(_Phase.READY)
        self._phase = _Phase.EPISODE
        self._started = False
        self._begun += 1
        return self._begun - 1

    def episode_ended(self, reason: EndReason, frames: int, *, stop: bool = False, fatal: bool = False) -> None:
        """Note the end of the running episode; `pause` says what follows.

        Args:
            reason: as `EpisodeRules` gave it. STOP ends the session.
            frames: rows recorded; an episode without any is discarded.
            stop: the session is to end although `reason` is another one (`Decision.stop`).
            fatal: a fault after which the session cannot go on.

        Raises:
            RuntimeError: no episode is running.
        """
        self._expect(_Phase.EPISODE)
        if frames == 0 or reason is EndReason.RERECORD:
            self._judgement = Judgement.DISCARD
        elif reason is EndReason.ABORTED:
            self._judgement = Judgement.ABORTED
        else:
            self._judgement = Judgement.KEEP
        self._stopped = self._stopped or stop or fatal or reason is EndReason.STOP
        if self._is_last and not self._stopped and self._review_last:
            self._wait(Pause.REVIEW)
        else:
            self._reset_or_on()

    def reset_tick(self, operator: OperatorEvents) -> bool:
        """One tick of the reset phase.

        Returns:
            Whether the phase is over with this tick.

        Raises:
            RuntimeError: no reset phase is running.
        """
        self._expect(_Phase.PAUSE, Pause.RESET)
        self._ticks_in_reset += 1
        self._take(operator)
        asked = operator.rerecord or operator.next or self._started
        over = asked or self._stopped or self._ticks_in_reset >= self._reset_ticks
        if over:
            self._gate_or_on()
        return over

    def gate_tick(self, operator: OperatorEvents, *, ready: bool) -> bool:
        """One tick at the start gate.

        Args:
            ready: whether an episode can begin, for example because its task is known.

        Returns:
            Whether the phase is over with this tick.

        Raises:
            RuntimeError: nothing waits at the gate.
        """
        self._expect(_Phase.PAUSE, Pause.GATE)
        self._take(operator)
        over = self._stopped or (ready and (self._started or not self._by_key))
        if over:
            self._go_on()
        return over

    def review_tick(self, operator: OperatorEvents) -> bool:
        """One tick of the review of the last episode.

        Returns:
            Whether the phase is over with this tick.

        Raises:
            RuntimeError: no review is running.
        """
        self._expect(_Phase.PAUSE, Pause.REVIEW)
        self._take(operator)
        if not self._is_last:
            self._started = False
            self._reset_or_on()
            return True
        over = self._stopped or self._started or operator.next
        if over:
            self._go_on()
        return over

    def wait_tick(self, operator: OperatorEvents) -> None:
        """Note the operator's wishes while the session waits for something else, with the verdict not yet given.

        Raises:
            RuntimeError: no ended episode is waiting for its verdict.
        """
        if self._phase is not _Phase.PAUSE:
            self._expect(_Phase.UNDECIDED)
        self._take(operator)

    def give_up(self) -> None:
        """End the session where it is, because of a fault: an episode that ended in order is kept."""
        self._stopped = True
        if self._phase is _Phase.PAUSE:
            self._go_on()

    def verdict(self) -> Judgement:
        """Decide on the episode that ended, once, and make the session ready for the next.

        Raises:
            RuntimeError: no ended episode is waiting for its verdict.
        """
        self._expect(_Phase.UNDECIDED)
        assert self._judgement is not None
        judgement, self._judgement = self._judgement, None
        self._phase = _Phase.READY
        if judgement is Judgement.KEEP:
            self._recorded += 1
        return judgement

    @property
    def _is_last(self) -> bool:
        return self._judgement is Judgement.KEEP and self._recorded + 1 >= self._num_episodes

    def _take(self, operator: OperatorEvents) -> None:
        # An aborted episode stays for `onbeat recover` to ask about; a key pressed in a hurry does not destroy it.
        if (operator.rerecord or operator.undo) and self._judgement is Judgement.KEEP:
            self._judgement = Judgement.DISCARD
        self._stopped = self._stopped or operator.stop
        self._started = self._started or operator.start

    def _reset_or_on(self) -> None:
        self._ticks_in_reset = 0
        if self._reset_ticks > 0 and self.another_follows:
            self._wait(Pause.RESET)
        else:
            self._gate_or_on()

    def _gate_or_on(self) -> None:
        if self._has_gate and self.another_follows:
            self._wait(Pause.GATE)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self._phase = _Phase.READY if self._judgement is None else _Phase.UNDECIDED

    def _wait(self, pause: Pause) -> None:
        self._phase, self._pause = _Phase.PAUSE, pause

    def _expect(self, phase: _Phase, pause: Pause | None = None) -> None:
        if self._phase is not phase or (pause is not None and self._pause is not pause):
            found = self._pause.name if self._phase is _Phase.PAUSE else self._phase.name
            raise RuntimeError(f"session phase {found} found, expected {(pause or phase).name}")

"""The episodes of a session: which are kept, what follows which, and when it is over; a pure state machine.

As lerobot-record does it: a reset phase follows every episode except the last one to be recorded, and also one that
is to be recorded again. The verdict on an episode is given after its reset phase, so that the operator can still
discard it there. The order of calls:

    while not finished:
        begin_episode()
        ... rows ...
        if episode_ended(...):          a reset phase follows
            while not reset_tick(...):
                ...
        verdict()

What the operator's keys do in the reset phase: re-record discards the episode just recorded and ends the phase; next
ends the phase; stop ends it and the session, and keeps the episode. A stop during an episode keeps it and ends the
session without a reset phase. The reset after the last episode does not exist, so that one cannot be undone here.
"""

from __future__ import annotations

from enum import Enum, auto

from control.episode_rules import OperatorEvents
from transport.errors import UsageError
from transport.records import EndReason, Judgement


class _Phase(Enum):
    READY = auto()
    EPISODE = auto()
    RESET = auto()
    UNDECIDED = auto()


class SessionRules:
    """The rules for one session.

    Args:
        num_episodes: how many episodes are to be kept.
        reset_ticks: length of the reset phase in ticks; 0 for none.

    Raises:
        UsageError: a negative number.
    """

    def __init__(self, num_episodes: int, reset_ticks: int) -> None:
        if num_episodes < 0:
            raise UsageError(f"{num_episodes} episodes found, expected at least 0")
        if reset_ticks < 0:
            raise UsageError(f"a reset phase of {reset_ticks} ticks found, expected at least 0")
        self._num_episodes = num_episodes
        self._reset_ticks = reset_ticks
        self._phase = _Phase.READY
        self._begun = 0
        self._recorded = 0
        self._ticks_in_reset = 0
        self._stopped = False
        self._judgement = Judgement.KEEP

    @property
    def recorded(self) -> int:
        """Episodes kept so far."""
        return self._recorded

    @property
    def stopped(self) -> bool:
        """Whether the operator or a fault ended the session; no reset phase and no episode follows."""
        return self._stopped

    @property
    def finished(self) -> bool:
        """Whether no further episode may begin. Never true while an episode has no verdict."""
        return self._phase is _Phase.READY and (self._stopped or self._recorded >= self._num_episodes)

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
        self._begun += 1
        return self._begun - 1

    def episode_ended(self, reason: EndReason, frames: int, *, stop: bool = False, fatal: bool = False) -> bool:
        """Note the end of the running episode.

        Args:
            reason: as `EpisodeRules` gave it. STOP ends the session.
            frames: rows recorded; an episode without any is discarded.
            stop: the session is to end although `reason` is another one (`Decision.stop`).
            fatal: a fault after which the session cannot go on.

        Returns:
            Whether a reset phase follows.

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
        is_last = self._judgement is Judgement.KEEP and self._recorded + 1 >= self._num_episodes
        has_reset = self._reset_ticks > 0 and not self._stopped and not is_last
        self._ticks_in_reset = 0
        self._phase = _Phase.RESET if has_reset else _Phase.UNDECIDED
        return has_reset

    def reset_tick(self, operator: OperatorEvents) -> bool:
        """One tick of the reset phase.

        Returns:
            Whether the phase is over with this tick.

        Raises:
            RuntimeError: no reset phase is running.
        """
        self._expect(_Phase.RESET)
        self._ticks_in_reset += 1
        # An aborted episode stays for `onbeat recover` to ask about; a key pressed in a hurry does not destroy it.
        if operator.rerecord and self._judgement is Judgement.KEEP:
            self._judgement = Judgement.DISCARD
        self._stopped = self._stopped or operator.stop
        over = operator.rerecord or operator.next or operator.stop or self._ticks_in_reset >= self._reset_ticks
        if over:
            self._phase = _Phase.UNDECIDED
        return over

    def verdict(self) -> Judgement:
        """Decide on the episode that ended, once, and make the session ready for the next.

        Raises:
            RuntimeError: no ended episode is waiting for its verdict.
        """
        self._expect(_Phase.UNDECIDED)
        self._phase = _Phase.READY
        if self._judgement is Judgement.KEEP:
            self._recorded += 1
        return self._judgement

    def _expect(self, phase: _Phase) -> None:
        if self._phase is not phase:
            raise RuntimeError(f"session phase {self._phase.name} found, expected {phase.name}")

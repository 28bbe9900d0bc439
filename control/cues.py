"""What is said to the operator in the course of a session, in lerobot-record's words. Pure."""

from __future__ import annotations

from enum import Enum

from control.board import LoopFigures, Phase


class Cue(Enum):
    """A moment that the operator should hear of."""

    RECORDING = "Recording episode {index}"
    RESET = "Reset the environment"
    AGAIN = "Re-record episode"
    READY = "Ready"
    REVIEW = "Keep the last episode?"
    STOP = "Stop recording"


_OF_PHASE = {
    Phase.RECORDING: Cue.RECORDING,
    Phase.RESET_PHASE: Cue.RESET,
    Phase.START_GATE: Cue.READY,
    Phase.REVIEW: Cue.REVIEW,
    Phase.ENDED: Cue.STOP,
}


class CueWatch:
    """Turns the loop's figures into cues.

    Args:
        first_index: index in the dataset of the session's first episode.
    """

    def __init__(self, first_index: int = 0) -> None:
        self._first_index = first_index
        self._phase: tuple[Phase, int] | None = None
        self._last_begun = (-1, 0)

    def look(self, figures: LoopFigures) -> list[tuple[Cue, str]]:
        """What is to be said now, with its words; nothing that was said before."""
        phase = figures.phase, figures.episode_id
        if phase == self._phase:
            return []
        self._phase = phase
        cue = _OF_PHASE.get(figures.phase)
        if cue is None:
            return []
        cues = [cue]
        if cue is Cue.RECORDING:
            take, recorded = self._last_begun
            if figures.episode_id > take >= 0 and figures.recorded == recorded:
                cues.insert(0, Cue.AGAIN)
            self._last_begun = figures.episode_id, figures.recorded
        index = self._first_index + figures.recorded
        return [(each, each.value.format(index=index)) for each in cues]

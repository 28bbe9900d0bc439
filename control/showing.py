"""What the operator sees and hears of a session that runs: the loop's figures, spoken cues, what a key would do now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control.board import Board
from control.cues import CueWatch
from control.display import Display
from control.operator import Operator
from control.ready import Ready
from control.voice import Voice


class Showing:
    """One session's, from GO on.

    Args:
        first_index: index in the dataset of the session's first episode, as far as it is known here.
    """

    def __init__(
        self,
        ready: Ready,
        board: Board,
        display: Display,
        voice: Voice,
        operator: Operator | None,
        *,
        first_index: int,
    ) -> None:
        self._ready, self._board, self._display, self._voice = ready, board, display, voice
        self._operator, self._cues = operator, CueWatch(first_index)

    def turn(self, publisher: Mapping[str, Any], *, draining: bool) -> None:
        """Bring everything up to date.

        Args:
            publisher: its newest status.
            draining: nothing is recorded any more.
        """
        ready = self._ready
        figures = self._board.figures(ready.fps if ready.paced else 0)
        for cue, words in self._cues.look(figures):
            self._voice.say(cue, words)
        self._voice.turn()
        if self._operator is not None:
            self._operator.look(figures.phase, figures.episode_id)
            self._display.help, self._display.typing = self._operator.help, self._operator.typing
        fill = publisher.get("fill_slots", 0)
        capacity = publisher.get("capacity_slots", ready.ring_slots)
        self._display.update(
            figures=figures,
            publisher=publisher,
            ring_fill_bytes=int(fill * ready.ring_bytes / ready.ring_slots),
            ring_fill_s=fill / ready.fps,
            ring_fraction=min(fill / capacity, 1.0),
            draining=draining,
        )

"""When a control process that still runs does not tick any more. Pure."""

from __future__ import annotations

from typing import NamedTuple

from control.board import Phase

_TICKING = (Phase.RECORDING, Phase.RESET_PHASE, Phase.WAITING_FOR_WRITER, Phase.START_GATE, Phase.REVIEW)
_WORKING = (Phase.STARTING, Phase.RESETTING)
# A supervisor that was itself stopped for longer between two looks has nothing to say about control.
_LONGEST_LOOK_S = 1.0


class Pulse(NamedTuple):
    """Signs of life, from the board: what control is doing, and for how many ticks."""

    phase: Phase
    episode_id: int
    ticks: int


class Watchdog:
    """One session's.

    Args:
        now_s: when control was told to begin.
        tick_limit_s: between two ticks; 0: any.
        reset_limit_s: for a reset, and for the first tick after it, in which things may be compiled or loaded; 0: any.
    """

    def __init__(self, now_s: float, tick_limit_s: float, reset_limit_s: float) -> None:
        self._tick_limit_s, self._reset_limit_s = tick_limit_s, reset_limit_s
        self._pulse: Pulse | None = None
        self._last_s, self._silent_s = now_s, 0.0

    def overdue_s(self, now_s: float, pulse: Pulse) -> float:
        """For how long there was no sign of life, if that is too long; else 0."""
        before, self._pulse = self._pulse, pulse
        self._silent_s += min(now_s - self._last_s, _LONGEST_LOOK_S)
        self._last_s = now_s
        if before != pulse:
            self._silent_s = 0.0
        limit_s = self._limit_s(pulse)
        return self._silent_s if limit_s and self._silent_s > limit_s else 0.0

    def _limit_s(self, pulse: Pulse) -> float:
        if pulse.phase in _TICKING and pulse.ticks:
            return self._tick_limit_s
        return self._reset_limit_s if pulse.phase in _TICKING + _WORKING else 0.0

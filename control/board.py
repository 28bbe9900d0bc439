"""Shared memory between control and supervisor: how the loop is doing, and what the operator wants.

Control writes the figures and reads the operator's counters; the supervisor does the opposite. Neither ever waits, and
no system call is made in the loop. A key is a counter that only grows, so that no press is lost or taken twice.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from control.episode_rules import OperatorEvents
from control.pacer import Tick
from transport.ledger import Ledger
from transport.timing import achieved_fps, lateness_ns

TRACE_TICKS = 16_384
_WORDS = 64
_EVENTS = ("next", "rerecord", "stop", "success", "failure", "start", "undo")
_TRACE_DTYPE = np.dtype([(name, "i8") for name in ("scheduled_ns", "started_ns", "missed_slots", "episode_id")])
_BYTES = _WORDS * 8 + TRACE_TICKS * _TRACE_DTYPE.itemsize


class Phase(IntEnum):
    """What control is doing."""

    STARTING = 0
    RESETTING = 1
    RECORDING = 2
    RESET_PHASE = 3
    WAITING_FOR_WRITER = 4
    ENDED = 5
    START_GATE = 6
    REVIEW = 7


_PHASE, _EPISODE, _RECORDED, _FRAMES, _TICKS, _MISSED, _WORST_NS, _OPERATOR = range(8)
_TAKEOVERS = _WORDS - 1
_BEATS, _BEFORE_PHASE = _WORDS - 2, _WORDS - 3


@dataclass(frozen=True, slots=True)
class LoopFigures:
    """The loop's figures since the session began; percentiles over the last `TRACE_TICKS` recorded ticks.

    Attributes:
        lateness_us, period_error_us: (p99, max) in microseconds, as `transport.timing` defines them, missed slots
            included; None before the first ticks.
        achieved_fps: ticks per second of the current episode; None before its second tick.
    """

    phase: Phase
    episode_id: int
    recorded: int
    frames: int
    ticks: int
    missed_slots: int
    lateness_us: tuple[float, float] | None
    period_error_us: tuple[float, float] | None
    achieved_fps: float | None


class Board:
    """Both sides' view of the shared memory."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._ledger: Ledger | None = None
        self._map = mmap.mmap(fd, _BYTES)
        self._words: NDArray[np.int64] = np.frombuffer(self._map, np.int64, _WORDS)
        self._trace = np.frombuffer(self._map, _TRACE_DTYPE, TRACE_TICKS, _WORDS * 8)
        self._taken = dict.fromkeys(_EVENTS, 0)
        self._taken_total = 0

    @classmethod
    def create(cls) -> Board:
        fd = os.memfd_create("onbeat-board", os.MFD_CLOEXEC)
        os.posix_fallocate(fd, 0, _BYTES)
        board = cls(fd)
        board._trace["scheduled_ns"] = -1
        return board

    def keep_ledger(self, ledger: Ledger) -> None:
        """Note published frames there too."""
        self._ledger = ledger

    # -- control's side ------------------------------------------------------------------------------------------

    def set_phase(self, phase: Phase, *, episode_id: int, recorded: int) -> None:
        self._words[_BEFORE_PHASE] = self._words[_TICKS] + self._words[_BEATS]
        self._words[_EPISODE] = episode_id
        self._words[_RECORDED] = recorded
        self._words[_PHASE] = phase

    def record_tick(self, tick: Tick, frames: int) -> None:
        """Note a recorded tick."""
        words = self._words
        count = int(words[_TICKS])
        worst_ns = tick.lateness_ns
        if tick.missed_slots:
            words[_MISSED] += tick.missed_slots
            before_ns = int(self._trace[(count - 1) % TRACE_TICKS]["scheduled_ns"])
            # The first slot that was missed has waited longest.
            worst_ns = tick.started_ns - before_ns - (tick.scheduled_ns - before_ns) // (tick.missed_slots + 1)
        self._trace[count % TRACE_TICKS] = (tick.scheduled_ns, tick.started_ns, tick.missed_slots, words[_EPISODE])
        words[_FRAMES] = frames
        if worst_ns > words[_WORST_NS]:
            words[_WORST_NS] = worst_ns
        words[_TICKS] = count + 1
        if self._ledger is not None:
            self._ledger.note(int(words[_EPISODE]), frames)

    def beat(self) -> None:
        """Note a tick in which nothing is recorded, as a sign of life."""
        self._words[_BEATS] += 1

    def take_events(self) -> OperatorEvents:
        """What the operator asked for since the last call."""
        total = int(self._words[_OPERATOR])
        if total == self._taken_total:
            return _NOTHING
        self._taken_total = total
        found = {}
        for position, name in enumerate(_EVENTS, _OPERATOR + 1):
            count = int(self._words[position])
            found[name] = count != self._taken[name]
            self._taken[name] = count
        return OperatorEvents(**found)

    def takeovers(self) -> int:
        """How often the operator has pressed the key that takes over from a policy and gives back."""
        return int(self._words[_TAKEOVERS])

    # -- the supervisor's side -----------------------------------------------------------------------------------

    def press(self, name: str) -> None:
        """The operator asks for one of next, rerecord, stop, success, failure, start, undo, takeover."""
        if name == "takeover":
            self._words[_TAKEOVERS] += 1
            return
        self._words[_OPERATOR + 1 + _EVENTS.index(name)] += 1
        self._words[_OPERATOR] += 1

    def signs_of_life(self) -> tuple[Phase, int, int]:
        """Phase, episode, and the number of ticks since that phase began."""
        words = self._words
        ticks = words[_TICKS] + words[_BEATS] - words[_BEFORE_PHASE]
        return Phase(int(words[_PHASE])), int(words[_EPISODE]), int(ticks)

    def figures(self, fps: int) -> LoopFigures:
        """The figures as they stand; `fps` of 0 (unpaced) has no period to be compared with."""
        words = self._words.copy()
        trace = self._trace.copy()
        trace = np.sort(trace[trace["scheduled_ns"] >= 0], order="started_ns")
        late_us = lateness_ns(trace["scheduled_ns"], trace["started_ns"], trace["missed_slots"], fps) / 1e3
        same_episode = np.diff(trace["episode_id"]) == 0
        interval_ns = np.diff(trace["started_ns"])[same_episode]
        error_us = np.abs(interval_ns - 1e9 / fps) / 1e3 if fps else interval_ns[:0]
        current = trace["started_ns"][trace["episode_id"] == words[_EPISODE]]
        return LoopFigures(
            phase=Phase(int(words[_PHASE])),
            episode_id=int(words[_EPISODE]),
            recorded=int(words[_RECORDED]),
            frames=int(words[_FRAMES]),
            ticks=int(words[_TICKS]),
            missed_slots=int(words[_MISSED]),
            lateness_us=(float(np.percentile(late_us, 99)), int(words[_WORST_NS]) / 1e3) if len(late_us) else None,
            period_error_us=(float(np.percentile(error_us, 99)), float(error_us.max())) if len(error_us) else None,
            achieved_fps=achieved_fps(current),
        )


_NOTHING = OperatorEvents()

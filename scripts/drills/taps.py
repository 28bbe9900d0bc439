"""Control's own counts, read from the memory that it shares with the supervisor, whoever of them is still alive."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from control.board import Board, LoopFigures, Phase


class Tap:
    """Holds the board of one session open, so that its figures outlive every process."""

    def __init__(self, pid: int, fps: int, limit_s: float = 60) -> None:
        """Join the board of the control process `pid`, once it has one."""
        self._fps = fps
        deadline_s = time.monotonic() + limit_s
        while (path := _board_of(pid)) is None:
            if time.monotonic() > deadline_s:
                raise AssertionError("the control process has no board")
            threading.Event().wait(0.01)
        self._board = Board(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    @property
    def figures(self) -> LoopFigures:
        return self._board.figures(self._fps)

    @property
    def published(self) -> int:
        """Frames published in the session."""
        return self.figures.ticks

    def press(self, key: str) -> None:
        """Do as the operator: next, rerecord, stop, success or failure."""
        self._board.press(key)

    def wait_frames(self, frames: int, episode: int = 0, limit_s: float = 60) -> None:
        """Wait until so many frames of a take are published, or it is over."""
        deadline_s = time.monotonic() + limit_s
        while True:
            found = self.figures
            there = found.phase is Phase.RECORDING and found.episode_id == episode and found.frames >= frames
            if there or found.episode_id > episode or found.phase is Phase.ENDED:
                return
            if time.monotonic() > deadline_s:
                raise AssertionError(f"take {episode} did not reach frame {frames} in {limit_s:g} s; it is at {found}")
            threading.Event().wait(0.002)


def _board_of(pid: int) -> Path | None:
    try:
        found = list(Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError) as error:
        raise AssertionError(f"the control process {pid} ended before it had a board") from error
    for path in found:
        # A process that starts opens and closes files all the time; a new board gets its size at once, a moment later.
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path).startswith("/memfd:onbeat-board") and path.stat().st_size > 0:
                return path
    return None

"""What the operator sees: a live status on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from control.board import LoopFigures, Phase
from control.overload import Alarm

_PLAIN_INTERVAL_S = 5.0
_WORDS = {
    Phase.STARTING: "starting",
    Phase.RESETTING: "resetting the environment",
    Phase.RECORDING: "recording",
    Phase.RESET_PHASE: "reset phase",
    Phase.WAITING_FOR_WRITER: "waiting for the writer to catch up",
    Phase.START_GATE: "waiting for the start",
    Phase.REVIEW: "the last episode is recorded: start keeps it, undo discards it",
    Phase.ENDED: "ended",
}


class Display:
    """Shows figures at most four times a second; the supervisor's turn sets the pace.

    Attributes:
        help: which key does what.
        typing: what has been typed of a task; None while none is asked for.
    """

    help = ""
    typing: str | None = None

    def __init__(self, num_episodes: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._num_episodes = num_episodes
        self._exits = contextlib.ExitStack()
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = self._exits.enter_context(Live(console=self._console, refresh_per_second=4, transient=True))
        self._next_plain_s = 0.0
        self._last_phase: tuple[Phase, int] | None = None

    def close(self) -> None:
        """Give the terminal back; may be called twice."""
        self._exits.close()
        self._live = None

    # -- lines ---------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self._console.print(f"! {text}", style="yellow", markup=False)

    def alarm(self, alarm: Alarm) -> None:
        """The log fills up."""
        self._console.print(f"! {alarm.text}", style=("yellow", "bold yellow", "bold red")[alarm.urgency], markup=False)

    def bell(self) -> None:
        self._console.bell()

    def protections(self, protections: Mapping[str, str]) -> None:
        """What the loop is protected by, and what it lacks and why."""
        if obtained := [name for name, state in protections.items() if state == "yes"]:
            self.note(f"loop: {'; '.join(obtained)}")
        for name, state in protections.items():
            if state != "yes":
                self.note(f"{name}: {state}")

    def episode(self, final: Mapping[str, Any]) -> None:
        """An episode reached its final state."""
        index = f" as episode {final['index']} of the dataset" if final["index"] >= 0 else ""
        self.note(f"take {final['episode']}: {final['state']}{index}, {final['frames']} frames")

    # -- figures -------------------------------------------------------------------------------------------------

    def update(
        self,
        *,
        figures: LoopFigures,
        publisher: Mapping[str, Any],
        ring_fill_bytes: int,
        ring_fill_s: float,
        ring_fraction: float,
        draining: bool,
    ) -> None:
        """Show the loop's figures and the writer's."""
        lag = publisher.get("head_seq", 0) - publisher.get("durable_seq", 0)
        state = "finishing: the writer encodes and commits" if draining else _WORDS[figures.phase]
        under_way = not draining and figures.phase is not Phase.ENDED
        values = {
            "state": state,
            "episode": f"{figures.recorded + under_way} of {self._num_episodes} (take {figures.episode_id})",
            "frames": f"{figures.frames}",
            "fps": "-" if figures.achieved_fps is None else f"{figures.achieved_fps:.2f}",
            "period error p99 / max": _microseconds(figures.period_error_us),
            "lateness p99 / max": _microseconds(figures.lateness_us),
            "missed ticks": f"{figures.missed_slots}",
            "log ring": f"{ring_fill_bytes / 1e6:.0f} MB, {ring_fill_s:.1f} s ({ring_fraction:.0%})",
            "spill": f"{publisher.get('spill_bytes', 0) / 1e6:.0f} MB",
            "writer": f"{lag} frames behind, {publisher.get('committing', 0)} episodes to commit",
            "disk left": _gigabytes(publisher.get("disk_free_bytes", -1)),
        }
        if self._live is not None:
            typed = {} if self.typing is None else {"task": f"{self.typing}▏"}
            self._live.update(_table({**typed, **values, "keys": self.help}))
            return
        now_s = time.monotonic()
        if (figures.phase, figures.episode_id) != self._last_phase or now_s >= self._next_plain_s:
            self._last_phase = (figures.phase, figures.episode_id)
            self._next_plain_s = now_s + _PLAIN_INTERVAL_S
            self.note("  ".join(f"{name}: {value}" for name, value in values.items()))
            sys.stdout.flush()


def _table(values: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(f"[dim]{name}[/dim]", Text(value))
    return table


def _microseconds(values: tuple[float, float] | None) -> str:
    return "-" if values is None else f"{values[0]:.0f} / {values[1]:.0f} µs"


def _gigabytes(nbytes: int) -> str:
    return "-" if nbytes < 0 else f"{nbytes / 1e9:.1f} GB"

"""Ends a control process that does not tick any more, or is to end at once: SIGTERM first, which aborts the episode in
order."""

from __future__ import annotations

from control.board import Board, Phase
from control.control_handle import ControlHandle
from control.display import Display
from control.summary import Summary
from control.supervisor_settings import SupervisorSettings
from control.watchdog import Pulse, Watchdog

# How long control has for its last tick, beside the wait for it, before it is killed; its robot waits meanwhile.
_LAST_TICK_S = 1.0


class Warden:
    """One session's, from GO on. A loop in a caller's own process is left alone."""

    def __init__(
        self,
        control: ControlHandle,
        board: Board,
        summary: Summary,
        display: Display,
        settings: SupervisorSettings,
        now_s: float,
    ) -> None:
        self._control, self._board, self._summary, self._display = control, board, summary, display
        self._watchdog = Watchdog(now_s, settings.max_tick_s, settings.max_reset_s)
        self._patience_s = _LAST_TICK_S + 1 / settings.spec.fps
        self._kill_at_s: float | None = None

    def look(self, now_s: float) -> None:
        """See whether control ticks, and end it if it does not; call it in every turn while it may tick."""
        if not self._control.is_ours or self._control.ended():
            return
        pulse = Pulse(*self._board.signs_of_life())
        overdue_s = self._watchdog.overdue_s(now_s, pulse)
        if self._kill_at_s is None and overdue_s:
            self._kill_at_s = now_s + self._patience_s
            why = f"the control process has not ticked for {overdue_s:.1f} s and is ended (--timing.max_tick_s)"
            self._summary.failed(why, 1)
            self._display.warn(why)
            self._control.terminate()
        elif self._kill_at_s is not None and now_s > self._kill_at_s and pulse.phase is not Phase.ENDED:
            self._control.kill()

    def end(self, now_s: float, *, guarded: bool) -> None:
        """End the loop at once, wherever it is.

        Args:
            guarded: whether a guardian leaves the robot as it should be if control has to be killed. Elsewhere nobody
                would release anything, and only the watchdog's limits end a reset or a step that takes its time.
        """
        if self._board.signs_of_life()[0] is Phase.ENDED:
            return  # SIGTERM would end the caller of `record_dataset`, whose loop is over
        self._control.terminate()
        if guarded and self._kill_at_s is None:
            self._kill_at_s = now_s + self._patience_s

"""Where the time of slow ticks went, and when a step is too heavy to run above everybody else; pure bookkeeping.

A slot is missed when the tick before it was not done by then. What that tick spent is known exactly: how late it
started ("wait"), what its source did by section, and what came after the action ("publish"). The slot is put down to
the largest of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from transport.errors import OnbeatError

_HEAVY = 0.8
_HEAVY_FOR_NS = 1_000_000_000
_MAX_REJECTED = 3
_HINTS = {
    "wait": "the machine woke the loop too late; see the protections, or give it fewer things to do",
    "publish": "copying pictures took too long; is another process using the memory's bandwidth?",
}


class Overruns:
    """The missed slots of one episode.

    Args:
        fps: of the grid; 0 for unpaced.
    """

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self.ticks = 0
        self.missed = 0
        self._missed_by: Counter[str] = Counter()
        self._worst_ns: dict[str, int] = {}

    @property
    def missed_fraction(self) -> float:
        """Missed slots of all slots so far, 0 to 1."""
        return self.missed / (self.missed + self.ticks) if self.missed else 0.0

    def missed_after(self, slots: int, lateness_ns: int, sections_ns: Mapping[str, int], publish_ns: int) -> None:
        """`slots` were missed after a tick that started so late and spent this."""
        spent = {"wait": lateness_ns, **sections_ns, "publish": publish_ns}
        cause = max(spent, key=lambda name: spent[name])
        self.missed += slots
        self._missed_by[cause] += slots
        self._worst_ns[cause] = max(self._worst_ns.get(cause, 0), spent[cause])

    def summary(self) -> str:
        """One line for people; empty when nothing was missed."""
        if not self.missed:
            return ""
        causes = [
            f"{slots} by {cause} (up to {self._worst_ns[cause] / 1e6:.1f} ms of a tick of {1e3 / self._fps:.1f} ms)"
            for cause, slots in self._missed_by.most_common()
        ]
        hint = _HINTS.get(self._missed_by.most_common(1)[0][0], "")
        line = f"{self.missed} of {self.missed + self.ticks} slots missed: {', '.join(causes)}"
        return f"{line}; {hint}" if hint else line


class HeavyStep:
    """Notices a loop that leaves the others nothing: every tick over 80 % of its slot, on the processor, for a second.

    A step that waits for a bus that long starves nobody and keeps its priority.

    Args:
        cpu_ns: the calling thread's processor time.
    """

    def __init__(self, fps: int, cpu_ns: Callable[[], int]) -> None:
        self._limit_ns = _HEAVY * 1e9 / fps if fps else float("inf")
        self._cpu_ns = cpu_ns
        self._since_ns = -1
        self._cpu_at_since_ns = 0

    def is_heavy(self, started_ns: int, finished_ns: int) -> bool:
        """Call once per tick; true when the second is full."""
        if finished_ns - started_ns <= self._limit_ns:
            self._since_ns = -1
            return False
        if self._since_ns < 0:
            self._since_ns, self._cpu_at_since_ns = finished_ns, self._cpu_ns()
            return False
        wall_ns = finished_ns - self._since_ns
        if wall_ns < _HEAVY_FOR_NS:
            return False
        heavy = self._cpu_ns() - self._cpu_at_since_ns > _HEAVY * wall_ns
        self._since_ns = -1
        return heavy


class MissedRule:
    """When an episode has missed too many slots, and what becomes of it.

    Args:
        max_fraction: of an episode's slots, 0 to 1; None for any.
        rejects: such an episode is aborted; else it is kept, and its sidecar says it.
    """

    def __init__(self, max_fraction: float | None = None, *, rejects: bool = False) -> None:
        self._max_fraction = max_fraction
        self.rejects = rejects
        self._rejected_in_a_row = 0

    def objection(self, overruns: Overruns) -> str:
        """What is wrong with an episode's timing, empty when nothing is; call once for each episode that is kept."""
        if self._max_fraction is None or overruns.missed_fraction <= self._max_fraction:
            self._rejected_in_a_row = 0
            return ""
        self._rejected_in_a_row += self.rejects
        return f"{overruns.missed_fraction:.1%} missed, more than --timing.max_missed_fraction={self._max_fraction:g}"

    def check_progress(self) -> None:
        """Refuse to reject for ever.

        Raises:
            OnbeatError: too many episodes in a row were rejected.
        """
        if self._rejected_in_a_row >= _MAX_REJECTED:
            raise OnbeatError(
                f"{_MAX_REJECTED} episodes in a row missed more slots than --timing.max_missed_fraction="
                f"{self._max_fraction:g} allows; lower --dataset.fps, or see docs/timing.md for what to change"
            )

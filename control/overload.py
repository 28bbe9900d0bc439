"""What the operator hears of a log that fills up: at 50, 80 and 100 %, in words, bytes and seconds. Pure.

The order is ring, spill file, end of the episode (transport/held_log.py). A half-full ring only means that the spill
file begins to fill, so the words differ; what is urgent about either is how many seconds are left.
"""

from __future__ import annotations

from dataclasses import dataclass

LEVELS = (0.5, 0.8, 1.0)
# A level is said again only after the fill has fallen this far below it.
_REARM_BELOW = 0.15


@dataclass(frozen=True, slots=True)
class LogFill:
    """How full the log is.

    Attributes:
        ring_records: the most that were in the ring at once since the last look.
        ring_capacity: records that fit before frames are refused.
        spill_records: spilled and not yet durable.
        spill_room_bytes: what may still be spilled.
        spill_trouble: why the last record could not be spilled; empty when it could.
    """

    ring_records: int
    ring_capacity: int
    spill_records: int
    spill_bytes: int
    spill_room_bytes: int
    spill_trouble: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """One line for the operator, and how urgent it is: 0, 1 or 2."""

    urgency: int
    text: str


class OverloadWatch:
    """Turns fills into alarms.

    Args:
        fps: of the recording, which turns records into seconds.
        record_bytes: of one record in the ring.
    """

    def __init__(self, fps: int, record_bytes: int) -> None:
        self._fps, self._record_bytes = fps, record_bytes
        self._said = {"ring": -1, "spill": -1}

    def look(self, fill: LogFill) -> list[Alarm]:
        """What is to be said now; nothing that was said before and still holds."""
        alarms = []
        ring = self._reached("ring", fill.ring_records / fill.ring_capacity)
        if ring is not None:
            alarms.append(Alarm(ring, self._ring_text(fill, ring)))
        total_bytes = fill.spill_bytes + fill.spill_room_bytes
        full = bool(fill.spill_trouble) and fill.spill_records > 0
        used = 1.0 if full else fill.spill_bytes / total_bytes if total_bytes else 0.0
        spill = self._reached("spill", used if fill.spill_records else 0.0)
        if spill is not None:
            alarms.append(Alarm(spill, self._spill_text(fill, spill)))
        return alarms

    def _reached(self, what: str, fraction: float) -> int | None:
        """The level that was newly reached; None when there is none."""
        said = self._said[what]
        while said >= 0 and fraction < LEVELS[said] - _REARM_BELOW:
            said -= 1
        reached = max((i for i, level in enumerate(LEVELS) if fraction >= level), default=-1)
        self._said[what] = max(said, reached)
        return reached if reached > said else None

    def _ring_text(self, fill: LogFill, level: int) -> str:
        waiting = f"{self._amount(fill.ring_records * self._record_bytes)} wait for the writer"
        if level == 2:
            return (
                f"log ring full: {waiting}, and {self._why(fill)}; the running episode ends here, and what follows its "
                "last frame is not recorded"
            )
        left = self._amount(max(fill.ring_capacity - fill.ring_records, 0) * self._record_bytes)
        if level == 0 and fill.spill_room_bytes and not fill.spill_trouble:
            return (
                f"log ring {LEVELS[level]:.0%} full: {waiting}; the oldest go to the spill file, which has room for "
                f"{self._amount(fill.spill_room_bytes)}"
            )
        return f"log ring {LEVELS[level]:.0%} full: {waiting}, and {self._why(fill)}; the episode ends {left} later"

    def _spill_text(self, fill: LogFill, level: int) -> str:
        waiting = (
            f"{self._amount(fill.spill_bytes)} on disk, {fill.spill_records / self._fps:.1f} s wait for the writer"
        )
        if level == 2:
            why = fill.spill_trouble or "no more is allowed"
            return f"spill file full: {waiting} ({why}); only the log ring is left, then the episode ends"
        return f"spill file {LEVELS[level]:.0%} full: {waiting}; {self._amount(fill.spill_room_bytes)} are left"

    def _why(self, fill: LogFill) -> str:
        if fill.spill_trouble:
            return f"nothing more can be spilled ({fill.spill_trouble})"
        return "the spill disk is too slow" if fill.spill_room_bytes else "the spill file has no room"

    def _amount(self, nbytes: int) -> str:
        unit = f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"
        return f"{unit} ({nbytes / self._record_bytes / self._fps:.1f} s)"

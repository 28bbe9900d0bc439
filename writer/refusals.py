"""What was refused, counted by reason, and when it is worth another line to people."""

from __future__ import annotations

import threading
from collections import Counter

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_RECENT_S = 60.0


class Refusals:
    """Counts from any thread; speaks at most once a second, and ever less while the same goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: Counter[str] = Counter()
        self._messages: Counter[str] = Counter()
        self._said = 0
        self._pause_s = _FIRST_PAUSE_S
        self._next_s = self._told_at_s = float("-inf")
        self._text = ""

    def connection(self, reason: str) -> None:
        """A peer was turned away, or thrown out."""
        with self._lock:
            self._connections[reason] += 1

    def message(self, reason: str, count: int = 1) -> None:
        """A message was ignored."""
        with self._lock:
            self._messages[reason] += count

    def counts(self) -> dict[str, int]:
        """How often by reason, connections and messages together."""
        with self._lock:
            return dict(self._connections + self._messages)

    def news(self, now_s: float) -> str | None:
        """One line with all counts so far, if there is something new and it is time to say so.

        Args:
            now_s: of a clock that never steps, in seconds.
        """
        with self._lock:
            total = self._connections.total() + self._messages.total()
            if now_s < self._next_s:
                return None
            if total == self._said:
                self._pause_s = _FIRST_PAUSE_S
                return None
            self._said = total
            self._next_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            told = (_told(self._connections, "connection"), _told(self._messages, "message"))
            self._text = "refused so far: " + ", ".join(text for text in told if text)
            self._told_at_s = now_s
            return self._text

    def recent(self, now_s: float) -> str:
        """The newest line, for a minute; empty when nothing was told for so long."""
        return self._text if now_s - self._told_at_s < _RECENT_S else ""


def _told(counts: Counter[str], what: str) -> str:
    if not counts:
        return ""
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    return f"{counts.total()} {what}{'s' if counts.total() != 1 else ''} ({reasons})"

"""The operator types what the next episode is about: a line with the least of editing, kept apart from the keys.

While the line is open, what can be printed goes into it; arrows, Esc and the keys of devices still mean what they
mean. Enter takes the line; an empty one is the task before.
"""

from __future__ import annotations

from transport.records import MAX_TEXT_BYTES

_ENTER = (b"\r", b"\n")
_ERASE = (b"\x7f", b"\x08")
_ERASE_ALL = b"\x15"


class TaskPrompt:
    """One session's.

    Args:
        default: what an empty first line means; empty: nothing.
    """

    def __init__(self, default: str = "") -> None:
        self.default = default
        self._take: int | None = None
        self._done = -1
        self._line = b""

    @property
    def is_open(self) -> bool:
        return self._take is not None

    @property
    def text(self) -> str:
        """What has been typed so far, for the status."""
        return self._line.decode(errors="replace")

    def ask(self, take: int) -> bool:
        """Open the line for a take of which nothing has been typed yet; whether it was opened now."""
        if take <= self._done or self._take == take:
            return False
        self._take, self._line = take, b""
        return True

    def close(self) -> None:
        """The episode has begun, or none follows."""
        self._take = None

    def takes(self, key: bytes) -> bool:
        """Whether a key belongs to the line; only while it is open."""
        printable = len(key) == 1 and key >= b" "
        return self.is_open and (printable or key in _ENTER or key in _ERASE or key == _ERASE_ALL)

    def feed(self, key: bytes) -> tuple[int, str] | None:
        """Take a key; the take and its task when the line is complete."""
        if key in _ERASE:
            # A character of UTF-8 goes as a whole.
            self._line = self._line.decode(errors="ignore")[:-1].encode()
        elif key == _ERASE_ALL:
            self._line = b""
        elif key not in _ENTER:
            if len(self._line) < MAX_TEXT_BYTES:
                self._line += key
        elif task := self._line.decode(errors="ignore").strip() or self.default:
            assert self._take is not None
            self._done, take = self._take, self._take
            self._take, self.default = None, task
            return take, task
        return None

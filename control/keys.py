"""Keys of the terminal as operator events: the keys of lerobot-record, and s, f and i."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator

# Names as `Board.press` takes them.
KEYS: dict[bytes, str] = {
    b"\x1b[C": "next",
    b"\x1bOC": "next",
    b"n": "next",
    b"\x1b[D": "rerecord",
    b"\x1bOD": "rerecord",
    b"r": "rerecord",
    b"\x1b": "stop",
    b"q": "stop",
    b"s": "success",
    b"f": "failure",
    b"i": "takeover",
}
HELP = "→ n next   ← r re-record   Esc q stop   s success   f failure   i take over"
# An escape sequence arrives in one piece; Esc alone is one byte with nothing behind it for so long.
ESCAPE_PATIENCE_S = 0.05


class KeyDecoder:
    """Bytes of a terminal in raw mode → operator events; pure, time is passed in."""

    def __init__(self) -> None:
        self._pending = b""
        self._since_s = 0.0

    def feed(self, data: bytes, now_s: float) -> list[str]:
        """Events of the keys that are complete. Call it with nothing now and then, so that a lone Esc is noticed."""
        if data and not self._pending:
            self._since_s = now_s
        self._pending += data
        found = []
        while self._pending:
            event, length = self._next(now_s)
            if length == 0:
                break
            self._pending = self._pending[length:]
            if event is not None:
                found.append(event)
        return found

    def _next(self, now_s: float) -> tuple[str | None, int]:
        text = self._pending
        if text[:1] != b"\x1b":
            return KEYS.get(text[:1].lower()), 1
        if len(text) >= 3 and text[1:2] in (b"[", b"O"):
            end = next((i for i in range(2, len(text)) if 0x40 <= text[i] <= 0x7E), None)
            return (None, 0) if end is None else (KEYS.get(text[: end + 1]), end + 1)
        if len(text) >= 2 and text[1:2] not in (b"[", b"O"):
            return KEYS[b"\x1b"], 1
        if now_s - self._since_s < ESCAPE_PATIENCE_S:
            return None, 0
        return KEYS[b"\x1b"], len(text)


@contextlib.contextmanager
def terminal_keys() -> Iterator[int | None]:
    """The terminal's file descriptor with keys unbuffered and unechoed; None where standard input is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def read_keys(fd: int, decoder: KeyDecoder, now_s: float) -> list[str]:
    """What was pressed since the last call; `fd` must be readable."""
    return decoder.feed(os.read(fd, 64), now_s)

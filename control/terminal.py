"""The terminal's keys one by one: bytes in raw mode, cut where a key ends."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator

# An escape sequence arrives in one piece; Esc alone is one byte with nothing behind it for so long.
ESCAPE_PATIENCE_S = 0.05
_ESC = b"\x1b"


class KeyDecoder:
    """Bytes of a terminal in raw mode → keys: an escape sequence each, or a byte; pure, time is passed in."""

    def __init__(self) -> None:
        self._pending = b""
        self._since_s = 0.0

    def feed(self, data: bytes, now_s: float) -> list[bytes]:
        """The keys that are complete. Call it with nothing now and then, so that a lone Esc is noticed."""
        if data and not self._pending:
            self._since_s = now_s
        self._pending += data
        found = []
        while self._pending and (length := self._length(now_s)):
            key, self._pending = self._pending[:length], self._pending[length:]
            # A sequence that never came to its end was an Esc.
            found.append(key if len(key) != 2 else _ESC)
        return found

    def _length(self, now_s: float) -> int:
        """Bytes of the first key; 0 while it is not complete."""
        text = self._pending
        if text[:1] != _ESC:
            return 1
        if len(text) >= 3 and text[1:2] in (b"[", b"O"):
            end = next((i for i in range(2, len(text)) if 0x40 <= text[i] <= 0x7E), None)
            return 0 if end is None else end + 1
        if len(text) >= 2 and text[1:2] not in (b"[", b"O"):
            return 1
        return 0 if now_s - self._since_s < ESCAPE_PATIENCE_S else len(text)


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


def read_keys(fd: int, decoder: KeyDecoder, now_s: float) -> list[bytes]:
    """What was pressed since the last call; `fd` must be readable."""
    return decoder.feed(os.read(fd, 256), now_s)

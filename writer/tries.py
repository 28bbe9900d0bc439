"""How often something was begun that may end the process that does it: noted on disk before each try."""

from __future__ import annotations

import contextlib
from pathlib import Path

from writer.workdir import read_json, write_json


class Tries:
    """The tries of one thing; they outlive the process wherever the disk takes a note.

    Args:
        path: of the note. Its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._here = 0

    @property
    def begun(self) -> int:
        """How many there were."""
        return max(int((read_json(self._path) or {}).get("tries", 0)), self._here)

    def begin(self) -> None:
        """One more begins."""
        self._here = self.begun + 1
        # A disk that takes no note lets what is tried fail too, and that is counted here.
        with contextlib.suppress(OSError):
            write_json(self._path, {"tries": self._here})

    def forget(self) -> None:
        """It is done, or given up."""
        self._here = 0
        self._path.unlink(missing_ok=True)

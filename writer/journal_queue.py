"""What was handed to the journal's thread and is not on its way to the disk yet."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Task = Callable[[], None]


class JournalQueue:
    """Tasks in the order of `put`, from any thread, for one thread; `waiting_bytes` grows while the disk hangs."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Task, int] | None] = queue.SimpleQueue()

    def put(self, task: Task, nbytes: int = 0) -> None:
        """Add a task that holds so many bytes of rows or packets until it is done."""
        self._count(nbytes)
        self._work.put((task, nbytes))

    def end(self) -> None:
        """No task follows."""
        self._work.put(None)

    def get(self, timeout_s: float | None) -> tuple[Task, int] | None:
        """The next task with its bytes, for `done`; None after the last.

        Raises:
            queue.Empty: there was none within `timeout_s`.
        """
        return self._work.get(timeout=timeout_s)

    def done(self, nbytes: int) -> None:
        """A task with so many bytes is done."""
        self._count(-nbytes)

    def _count(self, nbytes: int) -> None:
        with self._lock:
            self.waiting_bytes += nbytes

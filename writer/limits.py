"""What ingest may use of the machine: file descriptors and memory."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from pathlib import Path

_MAX_STRANGERS = 512
_PATIENCE_S = 2.0
_TIDY_S = 1.0
_TIDY_ABOVE_BYTES = 64 << 20
_M_ARENA_MAX = -8
_ARENAS = 2


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def strangers_allowed(file_limit: int) -> int:
    """How many connections may be open that belong to no session; most descriptors stay for journals and the rest."""
    return max(min(_MAX_STRANGERS, file_limit // 4), 1)


def default_memory_bytes() -> int:
    """Half of the machine's memory, or of what its control group leaves to this process."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        limit = "max"
    if limit != "max":
        found.append(int(limit))
    return min(found) // 2


def used_bytes() -> int:
    """Resident memory of this process, without what it shares: the log ring is the recorder's."""
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def share_memory() -> None:
    """Let threads share the allocator's arenas: else each keeps what it once needed, and memory only ever grows."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_memory_back() -> None:
    """Return what is free in the allocator to the system."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc
        libc.malloc_trim(0)


class MemoryWatch:
    """Above the limit strangers go first; where that does not help in time, the process goes.

    Args:
        limit_bytes: resident memory.
        measure: resident memory now, in bytes.
        relieve: frees what it can.
        give_up: ends the process, which costs a restart and a FETCH.
    """

    def __init__(
        self,
        limit_bytes: int,
        relieve: Callable[[], None],
        give_up: Callable[[int], None],
        measure: Callable[[], int] = used_bytes,
    ) -> None:
        self._limit_bytes, self._measure = limit_bytes, measure
        self._relieve, self._give_up = relieve, give_up
        self._above_since_s: float | None = None
        self._tidied_bytes, self._next_tidy_s = 0, 0.0

    def check(self, now_s: float) -> None:
        """Measure and act; `now_s` is of a clock that never steps."""
        used = self._measure()
        if now_s >= self._next_tidy_s and used > self._tidied_bytes + _TIDY_ABOVE_BYTES:
            # What peers had sent in bursts is free by now, and the allocator would keep it.
            self._next_tidy_s = now_s + _TIDY_S
            give_memory_back()
            used = self._tidied_bytes = self._measure()
        if used <= self._limit_bytes:
            self._above_since_s = None
            return
        if self._above_since_s is None:
            self._above_since_s = now_s
        if now_s - self._above_since_s > _PATIENCE_S:
            self._give_up(used)
        else:
            self._relieve()

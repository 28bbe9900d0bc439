"""Every tick of a load test, in memory that outlives the process in which the loop runs.

The board's trace holds the last few minutes; percentiles as far out as p99.9 need all ticks of a run.
"""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

from control.errors import SourceError

# Times are CLOCK_MONOTONIC in nanoseconds.
TICK_DTYPE = np.dtype(
    [("episode", "i8"), ("scheduled_ns", "i8"), ("started_ns", "i8"), ("action_sent_ns", "i8"), ("missed_slots", "i8")]
)
_HEADER_BYTES = 64


class TickTrace:
    """One process appends, another reads at the end; the memory is allocated and touched in full by `create`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self._count: NDArray[np.int64] = np.frombuffer(self._map, np.int64, 1)
        self._ticks = np.frombuffer(self._map, TICK_DTYPE, offset=_HEADER_BYTES)

    @classmethod
    def create(cls, capacity: int) -> TickTrace:
        """Room for `capacity` ticks."""
        fd = os.memfd_create("onbeat-ticks", os.MFD_CLOEXEC)
        os.posix_fallocate(fd, 0, _HEADER_BYTES + capacity * TICK_DTYPE.itemsize)
        trace = cls(fd)
        trace._ticks["episode"] = -1
        return trace

    def append(self, episode: int, row: NDArray[np.void]) -> None:
        """Note the tick of a published row, a zero-dimensional record with the loop's telemetry.

        Raises:
            SourceError: more ticks than there is room for.
        """
        count = int(self._count[0])
        if count == len(self._ticks):
            raise SourceError(
                f"the load has taken {count} ticks, more than it was to; episodes were aborted, see the lines above"
            )
        self._ticks[count] = (
            episode,
            row["onbeat.scheduled_ns"][0],
            row["onbeat.started_ns"][0],
            row["onbeat.action_sent_ns"][0],
            row["onbeat.missed_slots"][0],
        )
        self._count[0] = count + 1

    def ticks(self) -> NDArray[np.void]:
        """A copy of the ticks so far, in order; dtype `TICK_DTYPE`."""
        return self._ticks[: int(self._count[0])].copy()

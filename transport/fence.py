"""What orders loads and stores of shared memory, where the processor does not do so by itself."""

from __future__ import annotations

import platform
import threading

_WEAKLY_ORDERED = platform.machine() not in ("x86_64", "AMD64", "i686", "i386")
_FENCE = threading.Lock()


def fence() -> None:
    """Order loads and stores before it against those after it, where the processor does not do so by itself.

    A release followed by an acquire of the same lock is a full barrier in ARMv8's memory model; the other way round is
    none, because both sides may move into the section. Hence more than one section.
    """
    if _WEAKLY_ORDERED:
        with _FENCE:
            pass
        with _FENCE:
            pass
        with _FENCE:
            pass

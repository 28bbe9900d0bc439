"""Which processors the loop and everybody else run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from control.config import TimingFlags
from control.kernel import other_threads
from transport.errors import UsageError


def parse_cpus(text: str, flag: str) -> frozenset[int]:
    """Read a list of processors in the kernel's form, for example `0,2-3`.

    Raises:
        UsageError: of another form, or a processor that this process may not run on.
    """
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"{flag}={text} found, expected processors as in 0,2-3")
        cpus.update(range(int(first), int(last or first) + 1))
    there = os.sched_getaffinity(0)
    if not cpus or not cpus <= there:
        raise UsageError(f"{flag}={text} found, expected some of the processors {_listed(there)}")
    return frozenset(cpus)


def others_cpus(timing: TimingFlags) -> frozenset[int] | None:
    """Processors for everybody but the loop; None for all.

    Raises:
        UsageError: a processor that is not there.
    """
    there = os.sched_getaffinity(0)
    if timing.cpu is not None and timing.cpu not in there:
        raise UsageError(f"--timing.cpu={timing.cpu} found, expected one of {_listed(there)}")
    if timing.others_cpus is not None:
        return parse_cpus(timing.others_cpus, "--timing.others_cpus")
    if timing.cpu is None or len(there) == 1:
        return None
    return frozenset(there - {timing.cpu})


class Affinity:
    """The calling thread alone on one processor, the process's other threads on others, until `undo`.

    A thread that the loop's thread makes begins on the loop's processor; `move_others` finds those too.
    """

    def __init__(self, cpu: int, others: frozenset[int]) -> None:
        self._cpu, self._others = cpu, others
        self._before = os.sched_getaffinity(0)
        self._moved: dict[int, Collection[int]] = {}
        os.sched_setaffinity(0, {cpu})
        self.move_others()

    def move_others(self) -> None:
        for thread in other_threads():
            found = _unless_ended(os.sched_getaffinity, thread)
            if found is not None and self._cpu in found and found != self._others:
                _unless_ended(os.sched_setaffinity, thread, self._others)
                # A thread that began here had the processor from us, not from whoever pinned it.
                self._moved.setdefault(thread, self._before if found == {self._cpu} else found)

    def undo(self) -> None:
        os.sched_setaffinity(0, self._before)
        for thread, cpus in self._moved.items():
            _unless_ended(os.sched_setaffinity, thread, cpus)


def _unless_ended[**P, T](call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Threads end while one looks at them."""
    try:
        return call(*args, **kwargs)
    except ProcessLookupError:
        return None


def _listed(cpus: Collection[int]) -> str:
    return ",".join(str(cpu) for cpu in sorted(cpus))

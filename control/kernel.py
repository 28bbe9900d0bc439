"""The kernel's side of real time: thin calls that Python does not have, and what /proc says of this process."""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from pathlib import Path

_PR_SET_TIMERSLACK, _PR_GET_TIMERSLACK = 29, 30
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14
_libc = ctypes.CDLL(None, use_errno=True)


def lock_all_memory(*, future: bool) -> None:
    """mlockall: keep what is mapped in memory once it is touched; with `future`, also what will be mapped.

    Raises:
        OSError: not permitted, or over RLIMIT_MEMLOCK.
    """
    flags = _MCL_CURRENT | _MCL_ONFAULT | (_MCL_FUTURE if future else 0)
    _check(_libc.mlockall(flags))


def unlock_all_memory() -> None:
    _check(_libc.munlockall())


def timer_slack_ns() -> int:
    """Of the calling thread: how much the kernel may delay its wake-ups to save power."""
    return _prctl(_PR_GET_TIMERSLACK, 0)


def set_timer_slack_ns(slack_ns: int) -> None:
    """Of the calling thread; 0 is the default that it was started with."""
    _check(_prctl(_PR_SET_TIMERSLACK, slack_ns))


def locked_kb() -> int:
    """Memory that this process has locked."""
    return int(_status("VmLck").split()[0])


def may_lock_without_limit() -> bool:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return soft == resource.RLIM_INFINITY or bool(int(_status("CapEff"), 16) >> _CAP_IPC_LOCK & 1)


def memlock_limit() -> str:
    """RLIMIT_MEMLOCK for people."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return "unlimited" if soft == resource.RLIM_INFINITY else f"{soft >> 20} MB"


def other_threads() -> list[int]:
    """Thread ids of this process beside the calling thread, Python's and libraries'."""
    return sorted({int(path.name) for path in Path("/proc/self/task").iterdir()} - {threading.get_native_id()})


def other_python_threads() -> list[str]:
    """Names of Python threads beside the calling one: they share the interpreter lock with it."""
    me = threading.get_native_id()
    return sorted(thread.name for thread in threading.enumerate() if thread.native_id != me)


def _prctl(option: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    result: int = _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)
    return result


def _status(name: str) -> str:
    """A line of /proc/self/status."""
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
    raise KeyError(name)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

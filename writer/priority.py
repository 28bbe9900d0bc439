"""Gives up what would let this process's threads run before the loop.

SVT-AV1 makes all its threads SCHED_FIFO with priority 99 wherever it may, so as root or with a generous RLIMIT_RTPRIO:
some sixty threads an encoder, before every loop, driver and shell of the machine. Not being allowed to is the only
setting that it heeds.
"""

from __future__ import annotations

import ctypes
import os
import resource

_CAP_SYS_NICE = 23
# _LINUX_CAPABILITY_VERSION_3 of capget(2): two words of bits for each set.
_VERSION = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def give_up_realtime() -> None:
    """No thread that the calling one makes from now on can become real-time; call it before there are any.

    Raises:
        OSError: the kernel does not let capabilities be given up.
    """
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    _check(libc.capget(ctypes.byref(header), sets))
    keep = ~(1 << _CAP_SYS_NICE) & 0xFFFF_FFFF
    sets[0].effective &= keep
    sets[0].permitted &= keep
    sets[0].inheritable &= keep
    _check(libc.capset(ctypes.byref(header), sets))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

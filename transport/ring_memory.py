"""The log ring's memory: how it is allocated and marked, and how another process knows it for what it is."""

from __future__ import annotations

import errno
import math
import os
import uuid
import zlib

import numpy as np
from numpy.typing import NDArray

from transport.errors import LogError
from transport.ring_layout import (
    H_MAGIC,
    H_RECENT,
    H_SCHEMA,
    H_SESSION,
    H_SLOT_BYTES,
    H_SLOTS,
    H_TAIL,
    PAGE,
    SlotLayout,
    ring_bytes,
    slots_in,
)
from transport.schema import Schema

# Kept free of frames, so that the end of an episode and its verdict can always be appended.
RESERVED_SLOTS = 8
_MAGIC = 0x32_54_41_45_42_4E_4F  # "ONBEAT2", little-endian
# For how long a slot stays as it is even when it is free: a policy may be a second behind.
_RECENT_S = 1.25
_MIN_RECENT = 16


def allocate(schema: Schema, *, seconds: float, fps: int) -> int:
    """A memfd with room for `seconds` of recording at `fps` and an empty log in it.

    Raises:
        LogError: the machine does not have the memory; names what is needed and what there is.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise LogError(f"a log ring of {seconds:g} s found, expected a positive number; set --publisher.ring_s")
    slot_bytes = SlotLayout.of(schema).slot_bytes
    slots = max(int(seconds * fps), 4) + RESERVED_SLOTS
    size = ring_bytes(slots, slot_bytes)
    available = available_memory_bytes()
    if size > available * 0.8:
        raise LogError(
            f"the log ring needs {size / 1e6:.0f} MB for {seconds:g} s and {available / 1e6:.0f} MB of memory are "
            f"free; set --publisher.ring_s to {max(available * 0.5 / slot_bytes / fps, 0.1):.1f} or less"
        )
    fd = os.memfd_create("onbeat-log", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, _header(schema, size, fps).tobytes(), 0)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG):
            raise
        raise LogError(
            f"the log ring needs {size / 1e6:.0f} MB of shared memory and the system refused "
            f"({error.strerror}); set --publisher.ring_s lower or raise the limit"
        ) from error
    return fd


def check(fd: int, schema: Schema) -> None:
    """Before there is a view of each slot, of which another schema may want any number.

    Raises:
        LogError: the memory is not a ring of this schema.
    """
    slot_bytes = SlotLayout.of(schema).slot_bytes
    words = _header_of(fd)
    expected = (slots_in(os.fstat(fd).st_size, slot_bytes), slot_bytes, _fingerprint(schema))
    found = tuple(words[i] for i in (H_SLOTS, H_SLOT_BYTES, H_SCHEMA))
    if found != expected:
        raise LogError(f"log ring {found} found, expected {expected}; both processes need the same schema")


def session_of(fd: int) -> str:
    """The session id of the ring behind a file descriptor.

    Raises:
        LogError: the memory is not a ring.
    """
    return np.array(_header_of(fd)[H_SESSION : H_SESSION + 2], np.uint64).tobytes().hex()


def available_memory_bytes() -> int:
    """What the kernel says can be allocated without swapping (MemAvailable of proc(5))."""
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    raise LogError("/proc/meminfo has no MemAvailable; onbeat needs Linux 3.14 or newer")


def _header(schema: Schema, size: int, fps: int) -> NDArray[np.uint64]:
    words = np.zeros(PAGE // 8, np.uint64)
    words[H_SLOT_BYTES] = SlotLayout.of(schema).slot_bytes
    words[H_SLOTS] = slots_in(size, SlotLayout.of(schema).slot_bytes)
    words[H_RECENT] = min(max(math.ceil(_RECENT_S * fps), _MIN_RECENT), int(words[H_SLOTS]) - 1)
    words[H_SESSION : H_SESSION + 2] = np.frombuffer(uuid.uuid4().bytes, np.uint64)
    words[H_SCHEMA] = _fingerprint(schema)
    words[H_TAIL] = 1
    words[H_MAGIC] = _MAGIC
    return words


def _header_of(fd: int) -> list[int]:
    page = os.pread(fd, PAGE, 0)
    words: list[int] = np.frombuffer(page, np.uint64).tolist() if len(page) == PAGE else [0]
    if words[H_MAGIC] != _MAGIC:
        raise LogError("the shared memory is not a log ring of this version; start the session anew")
    return words


def _fingerprint(schema: Schema) -> int:
    return zlib.crc32(repr(schema.to_wire()).encode())

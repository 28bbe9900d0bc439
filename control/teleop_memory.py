"""The newest value of a teleoperator in shared memory: its process writes, the loop takes what is there.

A value is text and numbers in msgpack, kept as `control.camera_memory` keeps a picture, of one line. A page behind it
holds when the loop took one last.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import msgpack
import numpy as np

from control.camera_memory import CaptureKind, PictureMemory, create_memory, region_bytes
from transport.errors import CodecError

_HEIGHT, _WIDTH = 1, 8192
_LENGTH_BYTES = 4
MAX_BYTES = _HEIGHT * _WIDTH * 3 - _LENGTH_BYTES
_TAKEN_AT, _PAGE = region_bytes(_HEIGHT, _WIDTH), 4096


class TeleopMemory:
    """Both sides' view of the memory behind a memfd of `create`."""

    def __init__(self, fd: int) -> None:
        self._memory = PictureMemory(fd, 0, _HEIGHT, _WIDTH)
        self._line = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        self._bytes = self._line.reshape(-1)
        self._taken = np.frombuffer(mmap.mmap(fd, _PAGE, offset=_TAKEN_AT), np.int64)

    @staticmethod
    def create() -> int:
        """Allocate; returns the memfd."""
        fd, _ = create_memory([(_HEIGHT, _WIDTH)])
        os.posix_fallocate(fd, _TAKEN_AT, _PAGE)
        return fd

    def write(self, value: Any, now_ns: int) -> None:
        """Publish a value that was read at `now_ns`.

        Raises:
            CodecError: msgpack cannot hold it, or it is too long.
        """
        try:
            data = msgpack.packb(value)
        except (TypeError, ValueError) as error:
            raise CodecError(f"a value found that is neither text nor number: {error}") from error
        if len(data) > MAX_BYTES:
            raise CodecError(f"a value of {len(data)} bytes found, expected at most {MAX_BYTES}")
        self._bytes[:_LENGTH_BYTES] = np.frombuffer(len(data).to_bytes(_LENGTH_BYTES, "little"), np.uint8)
        self._bytes[_LENGTH_BYTES : _LENGTH_BYTES + len(data)] = np.frombuffer(data, np.uint8)
        self._memory.write(self._line, now_ns, CaptureKind.ARRIVAL)

    def read(self) -> tuple[Any, int] | None:
        """The newest value and when it was read; None while there is none."""
        shot = self._memory.read_newest(self._line)
        if shot is None:
            return None
        length = int.from_bytes(self._bytes[:_LENGTH_BYTES].tobytes(), "little")
        data = self._bytes[_LENGTH_BYTES : _LENGTH_BYTES + length].tobytes()
        return msgpack.unpackb(data, strict_map_key=False), shot.capture_ns

    @property
    def taken_ns(self) -> int:
        """When the loop took a value last; 0: never."""
        return int(self._taken[0])

    @taken_ns.setter
    def taken_ns(self, now_ns: int) -> None:
        self._taken[0] = now_ns

    def fail(self, text: str) -> None:
        """Note why the device does not work."""
        self._memory.fail(text)

    @property
    def failure(self) -> str:
        """What `fail` noted; empty if nothing."""
        return self._memory.failure if self._memory.failures else ""

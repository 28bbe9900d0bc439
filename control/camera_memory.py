"""A camera's newest pictures in shared memory: one process writes them, the loop takes the newest and never waits.

Layout, all numbers 64-bit in the machine's order, everything aligned to 64 bytes:

    page 0      newest sequence number, failures, length of the last failure's text, the text
    slot i      sequence number begun, capture time, its kind, the picture

Picture s (from 1) lies in slot s % SLOTS. The writer notes s in the slot before it touches the picture, and in `newest`
after it. The reader copies the newest and looks at the slot's number again: another one means that the writer came
round while it copied, and it copies the newer one instead. A writer that is killed half-way leaves a slot that nobody
is pointed to, and the next writer goes on counting where `newest` is.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transport.fence import fence

SLOTS = 4
_PAGE = 4096
_SLOT_HEADER_BYTES = 64
_TEXT_AT = 64
_MAX_TEXT = 1024
# Copies that a reader makes before it gives up; the writer would have to deliver SLOTS pictures during each of them.
_ATTEMPTS = 16

_NEWEST, _FAILURES, _TEXT_BYTES = range(3)
_BEGUN, _CAPTURE_NS, _KIND = range(3)

# uint8, or uint16 for depth.
Picture = NDArray[Any]


class CaptureKind(IntEnum):
    """What a capture time is: when the picture arrived in the camera's process, or what the driver noted."""

    ARRIVAL = 0
    DRIVER = 1


@dataclass(frozen=True, slots=True)
class Shot:
    """What is known of a picture. `capture_ns` is CLOCK_MONOTONIC; `seq` counts from 1 over all restarts."""

    seq: int
    capture_ns: int
    kind: CaptureKind


class PictureMemory:
    """One camera's region of a shared memory.

    Args:
        fd: a memfd of at least `offset + region_bytes(height, width)` bytes.
        offset: where the region begins; a multiple of the page size.
        height, width: of the pictures, uint8 of shape (height, width, 3).
        depth: depth maps instead, uint16 of shape (height, width, 1).
        copy: how a picture is copied out.
    """

    def __init__(
        self,
        fd: int,
        offset: int,
        height: int,
        width: int,
        depth: bool = False,
        *,
        copy: Callable[[Picture, Picture], None] = np.copyto,
    ) -> None:
        self.shape, self.dtype = (height, width, 1 if depth else 3), np.dtype(np.uint16 if depth else np.uint8)
        self._map = mmap.mmap(fd, region_bytes(height, width, depth), offset=offset)
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._header = self._bytes[:_TEXT_AT].view(np.int64)
        slot_bytes, picture_bytes = _slot_bytes(height, width, depth), _picture_bytes(height, width, depth)
        starts = range(_PAGE, _PAGE + SLOTS * slot_bytes, slot_bytes)
        self._slot_headers = [self._bytes[start : start + _SLOT_HEADER_BYTES].view(np.int64) for start in starts]
        self._pictures = [
            self._bytes[start + _SLOT_HEADER_BYTES :][:picture_bytes].view(self.dtype).reshape(self.shape)
            for start in starts
        ]
        self._copy = copy

    # -- the writer's side ---------------------------------------------------------------------------------------

    def write(self, picture: Picture, capture_ns: int, kind: CaptureKind) -> int:
        """Publish a picture; returns its sequence number."""
        seq = self.newest_seq + 1
        header = self._slot_headers[seq % SLOTS]
        header[_BEGUN] = seq
        fence()
        header[_CAPTURE_NS], header[_KIND] = capture_ns, kind
        self._copy(self._pictures[seq % SLOTS], picture)
        fence()
        self._header[_NEWEST] = seq
        return seq

    def fail(self, text: str) -> None:
        """Note why the camera does not work."""
        data = text.encode()[:_MAX_TEXT]
        self._bytes[_TEXT_AT : _TEXT_AT + len(data)] = np.frombuffer(data, np.uint8)
        self._header[_TEXT_BYTES] = len(data)
        fence()
        self._header[_FAILURES] += 1

    # -- the reader's side ---------------------------------------------------------------------------------------

    @property
    def newest_seq(self) -> int:
        """0 while there is no picture."""
        return int(self._header[_NEWEST])

    @property
    def newest_capture_ns(self) -> int:
        """When the newest picture was taken; 0 while there is none."""
        return int(self._slot_headers[self.newest_seq % SLOTS][_CAPTURE_NS])

    @property
    def failures(self) -> int:
        """How often `fail` was called."""
        return int(self._header[_FAILURES])

    @property
    def failure(self) -> str:
        """The last failure's text."""
        return bytes(self._bytes[_TEXT_AT : _TEXT_AT + int(self._header[_TEXT_BYTES])]).decode(errors="replace")

    def read_newest(self, into: Picture, latched_seq: int = 0) -> Shot | None:
        """Copy the newest picture into `into` and say which it is; None while there is none.

        Args:
            latched_seq: a `newest_seq` of before: that picture, unless it has been overwritten since. 0: none.

        Raises:
            OSError: the writer keeps overtaking; `into` holds parts of several pictures.
        """
        for _ in range(_ATTEMPTS):
            seq, latched_seq = latched_seq or self.newest_seq, 0
            if seq == 0:
                return None
            fence()
            header = self._slot_headers[seq % SLOTS]
            capture_ns, kind = int(header[_CAPTURE_NS]), int(header[_KIND])
            self._copy(into, self._pictures[seq % SLOTS])
            fence()
            if int(header[_BEGUN]) == seq:
                return Shot(seq, capture_ns, CaptureKind(kind))
        raise OSError(f"a camera overtook its reader {_ATTEMPTS} times in a row; is the machine overloaded?")


def region_bytes(height: int, width: int, depth: bool = False) -> int:
    """Bytes of one camera's region, whole pages."""
    return _up(_PAGE + SLOTS * _slot_bytes(height, width, depth))


def create_memory(sizes: Sequence[tuple[int, int] | tuple[int, int, bool]]) -> tuple[int, list[int]]:
    """Allocate regions for pictures of these (height, width) or (height, width, depth).

    Returns:
        The memfd and each region's offset.
    """
    offsets, total = [], 0
    for size in sizes:
        offsets.append(total)
        total += region_bytes(*size)
    fd = os.memfd_create("onbeat-cameras", os.MFD_CLOEXEC)
    # Every page is there before the session begins, so that neither side can fault for want of memory.
    os.posix_fallocate(fd, 0, max(total, 1))
    return fd, offsets


def _picture_bytes(height: int, width: int, depth: bool) -> int:
    return height * width * (2 if depth else 3)


def _slot_bytes(height: int, width: int, depth: bool) -> int:
    return _SLOT_HEADER_BYTES + -(-_picture_bytes(height, width, depth) // 64) * 64


def _up(nbytes: int) -> int:
    return -(-nbytes // _PAGE) * _PAGE

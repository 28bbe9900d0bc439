"""Where everything lies in the log ring's memory. All numbers are little-endian, words have 64 bits:

page 0      header: magic, slot count, slot bytes, head, tail, epoch, session, durable, schema, recent
index       the slot of each record, up to a multiple of 4096 bytes
slot i      64 bytes of slot header, CRCs of the parts, the packed row, the pictures (each 64-byte aligned)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transport.schema import Schema

PAGE = 4096
_ALIGN = 64
_SLOT_HEADER_BYTES = 64
_EVENT_BYTES = 16384

# Words of the header; the session id takes two.
H_MAGIC, H_SLOTS, H_SLOT_BYTES, H_HEAD, H_TAIL, H_EPOCH, H_SESSION = range(7)
H_DURABLE, H_SCHEMA, H_RECENT = 8, 9, 10
# Words of a slot's header.
S_SEQ, S_KIND, S_LENGTH, S_CRC_KNOWN, S_EPISODE, S_FRAME = range(6)


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where the parts of a slot lie, in bytes from the slot's start; the same for every slot of a session."""

    row_offset: int
    picture_offsets: tuple[int, ...]
    slot_bytes: int

    @classmethod
    def of(cls, schema: Schema) -> SlotLayout:
        parts = 1 + len(schema.pictures)
        row_offset = _aligned(_SLOT_HEADER_BYTES + 4 * parts)
        offset = _aligned(row_offset + schema.row_dtype.itemsize)
        offsets = []
        for stream in schema.pictures:
            offsets.append(offset)
            offset = _aligned(offset + stream.nbytes)
        return cls(row_offset, tuple(offsets), _up(max(offset, row_offset + _EVENT_BYTES), PAGE))


@dataclass(frozen=True, slots=True)
class Slot:
    """Views into one slot: its numbers, its CRCs, and the arrays of a frame."""

    header: NDArray[np.uint64]
    crcs: NDArray[np.uint32]
    row: NDArray[np.void]
    pictures: tuple[NDArray[Any], ...]
    payload: NDArray[np.uint8]


def ring_bytes(slots: int, slot_bytes: int) -> int:
    """Memory of a ring: its header, the index, the slots."""
    return PAGE + _up(8 * slots, PAGE) + slots * slot_bytes


def slots_in(nbytes: int, slot_bytes: int) -> int:
    """How many slots fit into so much memory."""
    slots = max(nbytes - PAGE, 0) // (slot_bytes + 8)
    return slots if ring_bytes(slots, slot_bytes) <= nbytes else slots - 1


def slot_views(memory: NDArray[np.uint8], layout: SlotLayout, schema: Schema) -> Slot:
    """The parts of the slot whose memory this is."""
    row_end = layout.row_offset + schema.row_dtype.itemsize
    pictures = tuple(
        memory[start : start + stream.nbytes].view(stream.dtype).reshape(stream.shape)
        for start, stream in zip(layout.picture_offsets, schema.pictures, strict=True)
    )
    parts = 1 + len(pictures)
    return Slot(
        header=memory[:_SLOT_HEADER_BYTES].view(np.uint64),
        crcs=memory[_SLOT_HEADER_BYTES : _SLOT_HEADER_BYTES + 4 * parts].view(np.uint32),
        row=memory[layout.row_offset : row_end].view(schema.row_dtype).reshape(()),
        pictures=pictures,
        payload=memory[layout.row_offset :],
    )


def event_bytes(slot: Slot) -> bytes:
    """The packed event in a slot."""
    return slot.payload[: int(slot.header[S_LENGTH])].tobytes()


def known_crcs(slot: Slot) -> Sequence[int] | None:
    """The CRCs that `remember_crcs` left, or None."""
    return slot.crcs.tolist() if slot.header[S_CRC_KNOWN] else None


def remember_crcs(slot: Slot, crcs: Sequence[int]) -> None:
    """Keep the CRCs of a record's parts, so that a later sending shows any damage since the first."""
    slot.crcs[: len(crcs)] = crcs
    slot.header[S_CRC_KNOWN] = 1


def _up(value: int, to: int) -> int:
    return -(-value // to) * to


def _aligned(value: int) -> int:
    return _up(value, _ALIGN)

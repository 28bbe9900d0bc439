"""A record's parts as they cross the network: the row as packed bytes, pictures as uint8 HWC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transport.checksum import crc32
from transport.records import RecordKind
from transport.ring_layout import Slot, event_bytes, known_crcs, remember_crcs
from transport.schema import Kind, Schema, Stream

Part = bytes | memoryview | NDArray[Any]


def row_of(slot: Slot) -> tuple[list[Part], Sequence[int]]:
    """A frame without its pictures, as `parts_of` gives the whole."""
    row = slot.row.tobytes()
    return [row], [crc32(row)]


def parts_of(kind: RecordKind, slot: Slot, schema: Schema) -> tuple[list[Part], Sequence[int]]:
    """The parts of a record and the CRC of each. Pictures that need no conversion are views into the slot."""
    if kind is not RecordKind.FRAME:
        parts: list[Part] = [event_bytes(slot)]
    else:
        parts = [slot.row.tobytes()]
        parts.extend(to_wire(s, picture) for s, picture in zip(schema.pictures, slot.pictures, strict=True))
    crcs = known_crcs(slot)
    if crcs is None:
        crcs = [crc32(part) for part in parts]
        remember_crcs(slot, crcs)
    return parts, crcs[: len(parts)]


def part_sizes(schema: Schema) -> list[int]:
    """Bytes of each part of a frame, which the writer checks before it looks at them."""
    return [schema.row_dtype.itemsize, *(s.wire_nbytes for s in schema.pictures)]


def to_wire(stream: Stream, picture: NDArray[Any]) -> NDArray[Any]:
    """A picture as `stream.wire_dtype` and `stream.wire_shape`; the array itself where it is that already.

    Floats in [0, 1] become `int(255 x)` in their own precision, as lerobot's own writers do
    (lerobot/datasets/video_utils.py); values outside are clipped, because wrapping around would be worse, and what is
    not a number is black.
    """
    if stream.kind is Kind.VIDEO and picture.dtype != np.uint8:
        # Unlike clip, fmax prefers a number to what is none.
        scaled = np.fmax(picture, 0)
        np.fmin(scaled, 1, out=scaled)
        np.multiply(scaled, 255, out=scaled)
        picture = scaled if stream.channels_first else scaled.astype(np.uint8)
    if not stream.channels_first:
        return picture
    # Channel by channel: seven times as fast as numpy's copy of the transposed array.
    interleaved = np.empty(stream.wire_shape, stream.wire_dtype)
    for channel, plane in enumerate(picture):
        interleaved[:, :, channel] = plane
    return interleaved

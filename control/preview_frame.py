"""The newest recorded frame out of the log ring, read by a process that nobody waits for.

It maps the ring read-only and takes no part in it: what it is too slow for it does not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transport.records import RecordKind
from transport.ring import LogRing
from transport.schema import Kind, Schema
from transport.wire import to_wire

_OBSERVATION, _STATE, _IMAGES, _ACTION = "observation.", "observation.state", "observation.images.", "action"

Values = dict[str, float | NDArray[Any]]


@dataclass(frozen=True, slots=True)
class PreviewFrame:
    """A frame in the form in which lerobot-record displays one.

    Attributes:
        observation: pictures by camera (uint8 HWC, depth in its own dtype), numbers by name or as vectors.
        action: numbers by name or as vectors.
    """

    seq: int
    observation: Values
    action: Values


class NewestFrame:
    """Reads one ring.

    Args:
        fd: of the ring; may be open for reading only.

    Raises:
        LogError: the memory is not a ring of this schema.
    """

    def __init__(self, fd: int, schema: Schema) -> None:
        self._ring = LogRing.attach(fd, schema, read_only=True)
        self._shown = 0

    def take(self) -> PreviewFrame | None:
        """The newest frame; None if it is the last one taken, or if its slot was taken again while it was copied."""
        ring, seq = self._ring, self._ring.head_seq
        if seq <= self._shown:
            return None
        slot = ring.slot(seq)
        row = slot.row.copy()
        pictures = [np.array(to_wire(s, p)) for s, p in zip(ring.schema.pictures, slot.pictures, strict=True)]
        kind = ring.kind_of(seq)
        if not ring.is_recent(seq):
            return None
        self._shown = seq
        return _form(seq, ring.schema, row, pictures) if kind == RecordKind.FRAME else None


def _form(seq: int, schema: Schema, row: NDArray[np.void], pictures: list[NDArray[np.uint8]]) -> PreviewFrame:
    """lerobot-record shows a robot's own names: cameras and motors without the prefixes of the dataset's columns."""
    observation: Values = {
        stream.key.removeprefix(_IMAGES): picture for stream, picture in zip(schema.pictures, pictures, strict=True)
    }
    action: Values = {}
    for stream in schema.rows:
        into = action if stream.key == _ACTION else observation if stream.key.startswith(_OBSERVATION) else None
        if into is None or stream.kind is not Kind.ROW:
            continue
        values = np.asarray(row[stream.key])
        if stream.names is not None and len(stream.names) == values.size and stream.key in (_STATE, _ACTION):
            into.update({name: float(value) for name, value in zip(stream.names, values.reshape(-1), strict=True)})
        else:
            into[stream.key] = values.reshape(-1).astype(np.float64)
    return PreviewFrame(seq, observation, action)

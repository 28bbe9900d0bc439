"""An observation out of the log ring, where the loop has left it: copied once, in the policy's process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transport.records import EpisodeBegan
from transport.ring import LogRing
from transport.ring_layout import event_bytes
from transport.schema import Kind, Schema

_PREFIX = "observation."

Observation = dict[str, NDArray[Any]]


class ObservationReader:
    """Reads what of a frame a policy looks at.

    Args:
        keys: streams to read; others are left out. Pictures come as HWC in the source's own dtype.
    """

    def __init__(self, ring: LogRing, keys: Sequence[str]) -> None:
        self._ring = ring
        self._rows = [s.key for s in ring.schema.rows if s.key in keys]
        self._pictures = [(i, s) for i, s in enumerate(ring.schema.pictures) if s.key in keys]

    def read(self, seq: int) -> Observation | None:
        """The observation in the slot of record `seq`, copied; None if that slot was taken again.

        The record itself may not be there yet: the loop leaves the observation of a tick that is still to come.
        """
        slot = self._ring.slot(seq)
        found: Observation = {key: np.array(slot.row[key]) for key in self._rows}
        for index, stream in self._pictures:
            picture = slot.pictures[index]
            found[stream.key] = np.array(np.moveaxis(picture, 0, 2) if stream.channels_first else picture, order="C")
        return found if self._ring.is_recent(seq) else None

    def task(self, first_seq: int) -> str:
        """The task of the episode whose first frame is record `first_seq`.

        Raises:
            CodecError: the slot of its beginning was taken again.
        """
        return EpisodeBegan.unpack(event_bytes(self._ring.slot(first_seq - 1))).task


def zeros(schema: Schema, keys: Sequence[str]) -> Observation:
    """An observation of the right form to warm a policy up with."""
    found: Observation = {}
    for stream in schema.streams:
        if stream.key in keys:
            shape = stream.shape if stream.kind is Kind.ROW else (stream.height, stream.width, stream.channels)
            found[stream.key] = np.zeros(shape, stream.dtype)
    return found


def observation_keys(schema: Schema) -> list[str]:
    """Everything that a policy may look at."""
    return [stream.key for stream in schema.streams if stream.key.startswith(_PREFIX)]

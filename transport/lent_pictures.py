"""Pictures that never cross the socket: a writer on the same machine copies them out of the log ring.

The publisher leaves them out of a DATA whose record lies in the ring. It keeps no slot for that: a record that is not
durable is held anyway, and one that is spilled may leave the ring at any moment. So a copy counts only if the ring
still holds the record once it is made; control fills a slot after its record has left the ring.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from transport.fence import fence
from transport.ring import LogRing
from transport.ring_memory import session_of
from transport.schema import Schema


def can_be_lent(schema: Schema) -> bool:
    """Whether all pictures lie in the ring as they would cross the network: uint8 HWC, or a depth picture."""
    pictures = schema.pictures
    return bool(pictures) and all((s.dtype, s.shape) == (s.wire_dtype, s.wire_shape) for s in pictures)


class LentPictures:
    """The writer's view of the ring."""

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring

    def copy(self, seq: int) -> list[NDArray[Any]] | None:
        """Record `seq`'s pictures, each with its stream's wire_dtype and wire_shape; None: it is not in the ring."""
        if not self._holds(seq):
            return None
        pictures = [picture.copy() for picture in self._ring.slot(seq).pictures]
        fence()
        return pictures if self._holds(seq) else None

    def _holds(self, seq: int) -> bool:
        return self._ring.tail_seq <= seq <= self._ring.head_seq


def lent_pictures(ring_fd: int, schema: Schema, session_id: str) -> LentPictures | None:
    """The pictures of a session in this ring; None if they cross the socket.

    Raises:
        LogError: the memory is not a ring of this schema.
    """
    if not can_be_lent(schema) or session_of(ring_fd) != session_id:
        return None
    return LentPictures(LogRing.attach(ring_fd, schema, read_only=True))

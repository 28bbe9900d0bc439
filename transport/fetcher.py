"""What the writer has asked for and received: pure bookkeeping of one connection, without sockets or clocks.

Records are taken strictly in order. Whatever is not exactly the next record of this epoch and generation is counted
by reason and ignored; damage asks again from the damaged record on, in a new generation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Buffer, Sequence
from typing import Protocol

from transport.checksum import crc32
from transport.messages import Data, Fetch, Gap, Head
from transport.records import MAX_EVENT_BYTES, RecordKind
from transport.schema import Schema
from transport.wire import part_sizes

_KINDS = frozenset(RecordKind)


class Lent(Protocol):
    """Where a publisher may leave pictures, as `LentPictures`."""

    def copy(self, seq: int) -> Sequence[Buffer] | None: ...


class Fetcher:
    """The receiving half of FETCH.

    Args:
        epoch: of the connection.
        durable_seq: the newest record that is safe; fetching starts behind it.
        window_bytes: how much may be under way or waiting for the encoders.
        waiting_bytes: how much of an earlier connection still waits for them.
        lent: the log ring, if the publisher may leave pictures there.
    """

    def __init__(
        self,
        epoch: int,
        durable_seq: int,
        schema: Schema,
        window_bytes: int,
        *,
        waiting_bytes: int = 0,
        lent: Lent | None = None,
    ) -> None:
        self.epoch = epoch
        self.next_seq = durable_seq + 1
        self.head_seq = durable_seq
        self.refused: Counter[str] = Counter()
        self._generation = 0
        self._window_bytes = window_bytes
        self.waiting_bytes = waiting_bytes
        self._frame_sizes = part_sizes(schema)
        self._lent = lent

    @property
    def received_seq(self) -> int:
        return self.next_seq - 1

    def accept(self, header: Data, parts: Sequence[Buffer]) -> list[memoryview] | None:
        """The parts of the next record, if that is what this is and it is whole; then it counts as received."""
        self.head_seq = max(self.head_seq, header.head_seq) if header.epoch == self.epoch else self.head_seq
        reason = self._objection(header, parts)
        whole = [memoryview(part) for part in parts]
        if reason is None and len(parts) < self._parts_of(header.kind):
            pictures = None if self._lent is None else self._lent.copy(header.seq)
            if pictures is None:
                reason = "no longer lent"
            else:
                whole += [memoryview(picture) for picture in pictures]
        if reason is None:
            self.next_seq += 1
            self.waiting_bytes += sum(part.nbytes for part in whole)
            return whole
        self.refused[reason] += 1
        if reason in ("missing", "damaged", "wrong size", "unknown kind", "no longer lent"):
            self._generation += 1
        return None

    def gap(self, message: Gap) -> bool:
        """Take a GAP; False if it is not about the record that is next."""
        if (
            message.epoch != self.epoch
            or message.generation != self._generation
            or message.first_seq != self.next_seq
            or message.last_seq < message.first_seq
        ):
            self.refused["stale gap"] += 1
            return False
        self.next_seq = message.last_seq + 1
        return True

    def head(self, message: Head) -> None:
        """Take a HEAD: what was sent before it and did not arrive will not arrive any more, and is asked for again."""
        if message.epoch != self.epoch:
            self.refused["other epoch"] += 1
            return
        self.head_seq = max(self.head_seq, message.head_seq)
        if message.generation == self._generation and message.next_seq > self.next_seq:
            self.refused["missing"] += 1
            self._generation += 1

    def consumed(self, nbytes: int) -> None:
        """This much of what was accepted has been encoded or journalled."""
        self.waiting_bytes -= nbytes

    def fetch(self, durable_seq: int, *, unwritten_bytes: int = 0) -> Fetch:
        """What to ask for now.

        Args:
            unwritten_bytes: what waits for the disk, beside what waits for the encoders.
        """
        room = max(self._window_bytes - self.waiting_bytes - unwritten_bytes, 0)
        return Fetch(self.epoch, self._generation, self.next_seq, room, durable_seq)

    def _parts_of(self, kind: int) -> int:
        return len(self._frame_sizes) if kind == RecordKind.FRAME else 1

    def _objection(self, header: Data, parts: Sequence[Buffer]) -> str | None:
        if header.epoch != self.epoch:
            return "other epoch"
        if header.generation != self._generation:
            return "older request"
        if header.seq < self.next_seq:
            return "repeated"
        if header.seq > self.next_seq:
            return "missing"
        if header.kind not in _KINDS:
            return "unknown kind"
        sizes = [memoryview(part).nbytes for part in parts]
        if header.kind == RecordKind.FRAME:
            wanted = self._frame_sizes[:1] if self._lent is not None and len(sizes) == 1 else self._frame_sizes
            if sizes != wanted or len(header.crcs) != len(sizes):
                return "wrong size"
        elif len(sizes) != 1 or sizes[0] > MAX_EVENT_BYTES or len(header.crcs) != 1:
            return "wrong size"
        if any(crc32(part) != crc for part, crc in zip(parts, header.crcs, strict=True)):
            return "damaged"
        return None

"""What the publisher owes the writer: pure bookkeeping of one connection, without sockets or clocks.

The writer asks with FETCH(generation, from_seq, max_bytes): records from `from_seq` on, as long as what was sent and
not yet asked past stays within `max_bytes`. A greater generation rewinds; an older one is ignored, and so is one that a
later FETCH of the same generation has overtaken.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Protocol

from transport.messages import Fetch


class Sending(Protocol):
    """A message on its way, as `zmq.MessageTracker`."""

    @property
    def done(self) -> bool: ...


class Outbox:
    """Which record is next, and whether the window lets it go."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.generation = -1
        self.cursor = 0
        self.durable_seq = 0
        self._from_seq = 0
        self._window_bytes = 0
        self._sent: deque[tuple[int, int]] = deque()
        self._sent_bytes = 0

    def fetch(self, message: Fetch) -> bool:
        """Take a FETCH; False if it is of another epoch, overtaken or contradicts itself, and is ignored."""
        if message.epoch != self.epoch or not 0 <= message.durable_seq < message.from_seq:
            return False
        if (message.generation, message.from_seq) < (self.generation, self._from_seq):
            return False
        self.durable_seq = max(self.durable_seq, message.durable_seq)
        if message.generation > self.generation:
            self.generation = message.generation
            self.cursor = message.from_seq
            self._sent.clear()
            self._sent_bytes = 0
        elif message.from_seq == self._from_seq:
            # Between two records the window only grows, so the greater of two is the newer one.
            message = replace(message, max_bytes=max(message.max_bytes, self._window_bytes))
        while self._sent and self._sent[0][0] < message.from_seq:
            self._sent_bytes -= self._sent.popleft()[1]
        self._from_seq, self._window_bytes = message.from_seq, message.max_bytes
        return True

    def may_send(self, head_seq: int) -> bool:
        """Whether record `cursor` exists and fits; a record larger than the whole window goes alone."""
        return 0 < self.cursor <= head_seq and self._sent_bytes < self._window_bytes

    def sent(self, nbytes: int) -> None:
        """Record `cursor` went out with `nbytes`."""
        self._sent.append((self.cursor, nbytes))
        self._sent_bytes += nbytes
        self.cursor += 1

    def skip_to(self, seq: int) -> None:
        """The records before `seq` are gone, and have been named in a GAP."""
        self.cursor = max(self.cursor, seq)


class InFlight:
    """What still reads a record's memory: messages that libzmq has not sent, batches on their way to the spill file.

    A slot of the ring is free only when they are done: reused earlier, it would go out with another record's bytes.
    """

    def __init__(self) -> None:
        self._sendings: deque[tuple[int, Sending, int]] = deque()

    def add(self, seq: int, sending: Sending, nbytes: int = 0) -> None:
        """`sending` reads record `seq`, or records from `seq` on."""
        self._sendings.append((seq, sending, nbytes))

    def free_to(self, durable_seq: int) -> int:
        """The first sequence number that is still needed: not durable, or still being read."""
        return min(self.oldest_seq or durable_seq + 1, durable_seq + 1)

    @property
    def oldest_seq(self) -> int | None:
        """The first record that is still being read; None when there is none."""
        return min((seq for seq, _, _ in self._unfinished()), default=None)

    @property
    def nbytes(self) -> int:
        """Of everything that is not done."""
        return sum(nbytes for _, _, nbytes in self._unfinished())

    def _unfinished(self) -> list[tuple[int, Sending, int]]:
        while self._sendings and self._sendings[0][1].done:
            self._sendings.popleft()
        return [entry for entry in self._sendings if not entry[1].done]

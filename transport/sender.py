"""Sends the writer the records that it asked for, from wherever they are held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transport import messages as msg
from transport.connection import Connection
from transport.errors import CodecError
from transport.held_log import HeldLog
from transport.outbox import InFlight
from transport.ring import LogRing

IDLE_POLL_MS = 50
# While only a full link holds sending up: nothing wakes us when libzmq has sent something.
_LINK_POLL_MS = 2
# What may be on its way into the socket at once, however much the writer asks for: the less a slow link holds, the
# sooner slots are free again. The kernel's own buffers come on top and cover the delay of a long line.
_IN_FLIGHT_BYTES = 8 << 20
_IN_FLIGHT_PART = 4  # of the ring
_TURN_BYTES = 16 << 20


class Sender:
    """One publisher's.

    Args:
        tell: for the supervisor; called with {"lost": ...} once for everything that cannot be sent any more.
    """

    def __init__(
        self, ring: LogRing, log: HeldLog, connection: Connection, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._ring, self._log, self._connection, self._tell = ring, log, connection, tell
        self._copies = InFlight()
        self._highest_sent = 0
        self._said: set[tuple[int, int]] = set()

    def send(self) -> int:
        """Send what was asked for; returns how long to wait, in milliseconds, before trying to send more."""
        outbox, log = self._connection.outbox, self._log
        turn_bytes = 0
        while outbox.may_send(self._ring.head_seq):
            if turn_bytes > _TURN_BYTES:
                return 0
            if self._link_is_full():
                return _LINK_POLL_MS
            seq = outbox.cursor
            held = log.first_held(seq)
            if held > seq:
                if not self._skip(seq, held - 1, "no longer held by the publisher"):
                    return _LINK_POLL_MS
                continue
            try:
                record = log.read(seq, verify=seq <= self._highest_sent)
            except (CodecError, OSError) as error:
                if not self._skip(seq, seq, str(error)):
                    return _LINK_POLL_MS
                continue
            header = msg.Data(
                outbox.epoch, outbox.generation, seq, record.kind, record.episode_id, record.frame_index,
                self._ring.head_seq, record.crcs,
            )  # fmt: skip
            sending = self._connection.send_record(header, record.parts)
            if sending is None:
                return _LINK_POLL_MS
            if not record.lent:  # which points at nothing and takes nothing of the link
                (log.reading if record.in_ring else self._copies).add(seq, sending, record.nbytes)
            turn_bytes += record.nbytes
            self._highest_sent = max(self._highest_sent, seq)
            outbox.sent(record.nbytes)
        return IDLE_POLL_MS

    def _link_is_full(self) -> bool:
        in_ring = self._log.reading.nbytes
        return in_ring > self._ring.nbytes // _IN_FLIGHT_PART or in_ring + self._copies.nbytes > _IN_FLIGHT_BYTES

    def _skip(self, first_seq: int, last_seq: int, reason: str) -> bool:
        """Say that these records will not come; False if the link is too full even for that."""
        outbox = self._connection.outbox
        if not self._connection.send(msg.Gap(outbox.epoch, outbox.generation, first_seq, last_seq, reason)):
            return False
        outbox.skip_to(last_seq + 1)
        if (first_seq, last_seq) not in self._said:
            self._said.add((first_seq, last_seq))
            self._tell({"lost": f"records {first_seq} to {last_seq} of the log are lost: {reason}"})
        return True

"""The bytes of Feetech's protocol 0.

Both directions: FF FF | id | length | instruction or error bits | parameters | checksum, where length counts everything
after itself and checksum is the complement of the low byte of the sum of what lies between it and the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

BROADCAST_ID = 0xFE
HEADER = b"\xff\xff"
_FRAMING_BYTES = 6
# A servo gives up on a packet whose rest does not come; generously, for an emulator may itself have been kept waiting.
_GAP_LIMIT_NS = 100_000_000


class Instruction(IntEnum):
    """What a host can ask for."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


@dataclass(frozen=True, slots=True)
class Request:
    """A packet of the host's whose checksum is right; `instruction` may be one that no servo knows."""

    servo_id: int
    instruction: int
    parameters: bytes

    @property
    def wire_bytes(self) -> int:
        return _FRAMING_BYTES + len(self.parameters)


def packet(servo_id: int, instruction_or_error: int, parameters: bytes = b"") -> bytes:
    """Frame a request, or a status when the third byte holds error bits."""
    body = bytes((servo_id, len(parameters) + 2, instruction_or_error)) + parameters
    return HEADER + body + bytes((checksum(body),))


def checksum(body: bytes) -> int:
    """The checksum of what lies between header and checksum."""
    return ~sum(body) & 0xFF


class RequestStream:
    """Cuts what arrives into requests; what is not one is skipped and counted."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._last_ns = 0
        self.skipped_bytes = 0

    def feed(self, data: bytes, now_ns: int) -> list[Request]:
        """Take what arrived at `now_ns`; returns the requests that it completes."""
        if self._pending and now_ns - self._last_ns > _GAP_LIMIT_NS:
            self._skip(len(self._pending))
        self._last_ns = now_ns
        self._pending += data
        requests = []
        while (request := self._next()) is not None:
            requests.append(request)
        return requests

    def _next(self) -> Request | None:
        pending = self._pending
        while len(pending) >= _FRAMING_BYTES:
            # A third FF belongs to the header of a packet that begins a byte later.
            if pending[:2] != HEADER or pending[2] == 0xFF or pending[3] < 2:
                self._skip(1)
                continue
            end = 4 + pending[3]
            if len(pending) < end:
                return None
            body = bytes(pending[2 : end - 1])
            if pending[end - 1] != checksum(body):
                self._skip(1)
                continue
            del pending[:end]
            return Request(body[0], body[2], body[3:])
        return None

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._pending[:count]

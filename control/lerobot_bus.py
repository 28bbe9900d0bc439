"""A limit on what a failed read of a servo bus may cost: a quarter of a tick instead of lerobot's 50 ms and more.

lerobot's buses wait for an answer for as long as the SDK's port handler says, try again as often as the robot's
configuration says, and take for the answer to a request whatever is in the input buffer. A limited bus ends the wait
at the limit, makes no attempt after it, and throws away first what is left in the buffer: a late answer would put the
driver one read behind for good. And it sleeps until bytes arrive: the SDK spins, which on a loop with a real-time
priority keeps a processor from those who are to bring them.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_MIN_WAIT_MS = 0.1


class BusLimits:
    """The buses of a robot or teleoperator. Outside of `within` they are as lerobot made them.

    Args:
        device: whose buses on Feetech's or Dynamixel's SDK are limited; other buses are left as they are.
        now_ns: a monotonic clock.
    """

    def __init__(self, device: Any, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._buses = [_limited(bus, now_ns) for bus in buses_of(device)]

    @contextmanager
    def within(self, limit_ns: int) -> Iterator[None]:
        """Reads in this block cost at most `limit_ns` together, failures and repetitions included."""
        deadline_ns = self._now_ns() + limit_ns
        for bus in self._buses:
            bus.deadline_ns, bus.last_result = deadline_ns, None
        try:
            yield
        finally:
            for bus in self._buses:
                bus.deadline_ns = None


class _LimitedBus:
    """Three of the SDK's methods, replaced in one object."""

    def __init__(self, bus: Any, now_ns: Callable[[], int]) -> None:
        self._port, self._now_ns, self._success = bus.port_handler, now_ns, bus._comm_success
        self._set_wait, self._exchange = self._port.setPacketTimeout, bus.sync_reader.txRxPacket
        self.last_result: Any = None
        self.deadline_ns: int | None = None
        self._read = self._port.readPort
        self._port.setPacketTimeout = self.set_wait
        self._port.readPort = self.read
        bus.sync_reader.txRxPacket = self.exchange

    def set_wait(self, packet_length: int) -> None:
        self._set_wait(packet_length)
        if self.deadline_ns is not None:
            left_ms = (self.deadline_ns - self._now_ns()) / 1e6
            self._port.packet_timeout = min(self._port.packet_timeout, max(left_ms, _MIN_WAIT_MS))

    def read(self, length: int) -> Any:
        if length > 0 and self.deadline_ns is not None:
            left_s = (self.deadline_ns - self._now_ns()) / 1e9
            select.select([self._port.ser.fileno()], [], [], max(left_s, 0))
        return self._read(length)

    def exchange(self) -> Any:
        if self.deadline_ns is not None:
            if self.last_result not in (None, self._success) and self._now_ns() >= self.deadline_ns:
                return self.last_result
            self._port.ser.reset_input_buffer()
        self.last_result = self._exchange()
        return self.last_result


def _limited(bus: Any, now_ns: Callable[[], int]) -> _LimitedBus:
    limited = getattr(bus, "onbeat_limited", None)
    if limited is None:
        limited = bus.onbeat_limited = _LimitedBus(bus, now_ns)
    found: _LimitedBus = limited
    return found


def buses_of(device: Any) -> list[Any]:
    """The serial buses of a robot or teleoperator and of its arms."""
    found: list[Any] = []
    for part in (device, *vars(device).values()):
        bus = getattr(part, "bus", None)
        if all(hasattr(bus, name) for name in ("port_handler", "sync_reader")) and not any(bus is b for b in found):
            found.append(bus)
    return found

"""The limit on a failed read, on an SDK that a test plays; the real one is in test_lerobot_robot.py."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from control.clock import FakeClock
from control.errors import SourceError
from control.lerobot_bus import BusLimits, buses_of
from control.lerobot_held import Held

OK, TIMED_OUT = 0, -6
LIMIT_NS = 8_000_000


class Sdk:
    """A port handler and a sync reader that wait as long as they were told, or answer at once."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answers: list[bool] = []
        self.waits_ms: list[float] = []
        self.resets = self.reads = 0
        self.packet_timeout = 0.0
        read_end, self._write_end = os.pipe()
        self.ser = SimpleNamespace(fileno=lambda: read_end, reset_input_buffer=self._reset)

    def _reset(self) -> None:
        self.resets += 1

    def setPacketTimeout(self, packet_length: int) -> None:
        self.packet_timeout = 50.0 + packet_length

    def readPort(self, length: int) -> bytes:
        self.reads += 1
        return b""

    def txRxPacket(self) -> int:
        self.port.setPacketTimeout(10)
        self.waits_ms.append(self.packet_timeout)
        if self.answers.pop(0):
            return OK
        self.clock.advance(round(self.packet_timeout * 1e6))
        return TIMED_OUT

    @property
    def port(self) -> Any:
        return self


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_000)


@pytest.fixture
def sdk(clock: FakeClock) -> Sdk:
    return Sdk(clock)


def device_of(sdk: Sdk) -> Any:
    return SimpleNamespace(bus=SimpleNamespace(port_handler=sdk, sync_reader=sdk, _comm_success=OK))


def attempts(sdk: Sdk, count: int) -> list[int]:
    """What `sync_read` does: tries until one succeeds."""
    results: list[int] = []
    while len(results) < count and (not results or results[-1] != OK):
        results.append(sdk.txRxPacket())
    return results


def test_silence_costs_the_limit_and_no_more_however_often_it_is_tried(sdk: Sdk, clock: FakeClock) -> None:
    limits = BusLimits(device_of(sdk), clock.now_ns)
    sdk.answers = [False]
    began_ns = clock.now_ns()
    with limits.within(LIMIT_NS):
        assert attempts(sdk, 3) == [TIMED_OUT] * 3
    assert clock.now_ns() - began_ns == LIMIT_NS
    assert sdk.waits_ms == [8.0]
    assert sdk.resets == 1


def test_a_failure_in_time_is_tried_again_with_what_is_left(sdk: Sdk, clock: FakeClock) -> None:
    limits = BusLimits(device_of(sdk), clock.now_ns)
    sdk.answers = [True, True]
    exchange: Callable[[], int] = sdk.txRxPacket
    with limits.within(LIMIT_NS):
        assert exchange() == OK
        clock.advance(3_000_000)
        assert exchange() == OK
    assert sdk.waits_ms == [8.0, 5.0]
    assert sdk.resets == 2


def test_the_first_attempt_is_made_whatever_came_before(sdk: Sdk, clock: FakeClock) -> None:
    limits = BusLimits(device_of(sdk), clock.now_ns)
    sdk.answers = [False, True]
    with limits.within(LIMIT_NS):
        attempts(sdk, 3)
    with limits.within(LIMIT_NS):
        assert attempts(sdk, 3) == [OK]


def test_outside_of_a_limit_the_bus_is_as_it_was(sdk: Sdk, clock: FakeClock) -> None:
    limits = BusLimits(device_of(sdk), clock.now_ns)
    with limits.within(LIMIT_NS):
        pass
    sdk.answers = [False, True]
    assert attempts(sdk, 3) == [TIMED_OUT, OK]
    assert sdk.waits_ms == [60.0, 60.0]
    assert sdk.resets == 0


def test_two_limits_on_one_bus_are_one(sdk: Sdk, clock: FakeClock) -> None:
    device = device_of(sdk)
    first, second = BusLimits(device, clock.now_ns), BusLimits(device, clock.now_ns)
    sdk.answers = [True, True]
    with first.within(LIMIT_NS):
        sdk.txRxPacket()
    with second.within(LIMIT_NS // 2):
        sdk.txRxPacket()
    assert sdk.waits_ms == [8.0, 4.0]
    assert sdk.resets == 2


def test_buses_of_two_arms_are_found_and_network_robots_have_none(sdk: Sdk, clock: FakeClock) -> None:
    left, right = device_of(sdk), device_of(Sdk(clock))
    assert buses_of(SimpleNamespace(left_arm=left, right_arm=right, bus=None)) == [left.bus, right.bus]
    assert buses_of(SimpleNamespace(bus=SimpleNamespace(socket=3))) == []


def failing(times: int, value: int) -> Callable[[], int]:
    left = iter(range(times))

    def call() -> int:
        if next(left, None) is not None:
            raise ConnectionError("no\n status packet")
        return value

    return call


def test_two_failures_repeat_the_value_and_a_third_in_a_row_ends_it(clock: FakeClock) -> None:
    held = Held("read of the robot", BusLimits(SimpleNamespace(), clock.now_ns), LIMIT_NS)
    assert held.prime(lambda: 1) == 1
    call = failing(2, 2)
    assert [(held.get(call), held.failed) for _ in range(3)] == [(1, True), (1, True), (2, False)]
    call = failing(3, 3)
    assert [held.get(call) for _ in range(2)] == [2, 2]
    with pytest.raises(SourceError, match=r"the read of the robot failed 3 times in a row: .*no status packet"):
        held.get(call)
    assert held.failures == 5
    assert held.summary.startswith("5 times the read of the robot failed")


def test_a_pulled_cable_fails_as_silence_does(clock: FakeClock) -> None:
    person, device = pty.openpty()
    held = Held("read of the robot", BusLimits(SimpleNamespace(), clock.now_ns), LIMIT_NS)
    held.prime(lambda: termios.tcflush(device, termios.TCIFLUSH))
    os.close(person)
    for _ in range(2):
        held.get(lambda: termios.tcflush(device, termios.TCIFLUSH))
    with pytest.raises(SourceError, match=r"the read of the robot failed 3 times in a row: \[Errno 5\] Input/output"):
        held.get(lambda: termios.tcflush(device, termios.TCIFLUSH))
    os.close(device)


def test_what_is_no_failure_of_a_device_is_not_caught(clock: FakeClock) -> None:
    held = Held("read of the robot", BusLimits(SimpleNamespace(), clock.now_ns), LIMIT_NS)
    held.prime(dict)
    with pytest.raises(ZeroDivisionError):
        held.get(lambda: 1 // 0)


def test_a_first_failure_before_the_loop_is_final(clock: FakeClock) -> None:
    held = Held("read of the robot", BusLimits(SimpleNamespace(), clock.now_ns), LIMIT_NS)
    with pytest.raises(SourceError, match=r"the first read of the robot failed"):
        held.prime(failing(1, 1))

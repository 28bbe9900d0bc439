"""Switches the torque of a bus's servos on or off, without lerobot's `connect`, and reads back whether it is so."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from control.guarded import GuardedBus, GuardedMotor


class TorqueSwitch:
    """One bus. The port is opened at the first attempt; nobody else may have it open then.

    Args:
        on: hold, else release. A motor that would not hold its position with torque is released in any case.

    Attributes:
        left: motors of which it is not known that they are as wanted.
        trouble: why, in words; empty before the first attempt.
    """

    def __init__(self, bus: GuardedBus, *, on: bool) -> None:
        self._bus, self._on = bus, on
        self._sdk = importlib.import_module(bus.sdk)
        self._packets = self._sdk.PacketHandler(bus.protocol)
        self._port: Any = None
        self._modes: dict[int, int] = {}
        self.left: list[GuardedMotor] = list(bus.motors)
        self.trouble = ""

    @property
    def name(self) -> str:
        return self._bus.port

    def attempt(self) -> bool:
        """Write to all motors that are left, then read from each; True when none is left."""
        try:
            if self._port is None:
                self._port = self._open()
            # What control left half-read would be taken for an answer.
            self._port.ser.reset_input_buffer()
            self._switch(self.left)
            self.left = [motor for motor in self.left if not self._is_done(motor)]
            self.trouble = f"no answer from motors {', '.join(str(motor.id) for motor in self.left)}"
        except OSError as error:  # unplugged, or held by another process
            self.close()
            self.trouble = " ".join(f"{error}".split())
        return not self.left

    def close(self) -> None:
        """Give the port back; may be called twice."""
        port, self._port = self._port, None
        if port is not None and port.ser is not None:
            port.ser.close()

    def _open(self) -> Any:
        port = self._sdk.PortHandler(self._bus.port)
        if not port.setBaudRate(self._bus.baud):
            raise OSError(f"{self._bus.baud} baud found, which {self._bus.port} does not take")
        return port

    def _switch(self, motors: Sequence[GuardedMotor]) -> None:
        """One packet for all, to which nobody answers: a servo that is mute still hears it."""
        self._write(motors, lambda motor: motor.torque)
        self._write(motors, lambda motor: motor.lock)

    def _write(self, motors: Sequence[GuardedMotor], address_of: Callable[[GuardedMotor], int | None]) -> None:
        for address in {address_of(motor) for motor in motors} - {None}:
            group = self._sdk.GroupSyncWrite(self._port, self._packets, address, 1)
            for motor in motors:
                if address_of(motor) == address:
                    group.addParam(motor.id, [self._wanted(motor)])
            group.txPacket()

    def _is_done(self, motor: GuardedMotor) -> bool:
        if self._on and motor.mode is not None and motor.id not in self._modes:
            mode = self._read(motor, motor.mode)
            if mode is None:
                return False
            self._modes[motor.id] = mode
            if not self._wanted(motor):
                self._switch([motor])
        return self._read(motor, motor.torque) == self._wanted(motor)

    def _wanted(self, motor: GuardedMotor) -> int:
        """Held until it is known that it would not keep still."""
        return int(self._on and self._modes.get(motor.id, motor.holds_in[0]) in motor.holds_in)

    def _read(self, motor: GuardedMotor, address: int) -> int | None:
        value, result, _ = self._packets.read1ByteTxRx(self._port, motor.id, address)
        return int(value) if result == self._sdk.COMM_SUCCESS else None

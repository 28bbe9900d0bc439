"""Switches the torque of a bus's servos on or off, without lerobot's `connect`, and reads back whether it is so."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from control.guarded import GuardedBus, GuardedMotor
from control.serial_faults import SERIAL_FAULTS, words


class TorqueSwitch:
    """One bus. The port is opened at the first attempt; nobody else may have it open then.

    Torque is taken from all motors by one packet to which nobody answers: a servo that is mute still hears it. It is
    given only to motors that answer: one that had none would leap to whatever goal it was given last, and gets the
    position where it stands as its goal first.

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
            self._switch([motor for motor in self.left if not self._on or self._may_have_torque(motor)])
            self.left = [motor for motor in self.left if self._byte(motor, motor.torque) != self._wanted(motor)]
            self.trouble = f"no answer from motors {', '.join(str(motor.id) for motor in self.left)}"
        except SERIAL_FAULTS as error:  # unplugged, or held by another process
            self.close()
            self.trouble = words(error)
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

    def _may_have_torque(self, motor: GuardedMotor) -> bool:
        """Whether it is known what it would do with torque, or that it keeps no position and is to be released."""
        if motor.mode is not None and motor.id not in self._modes:
            mode = self._byte(motor, motor.mode)
            if mode is None:
                return False
            self._modes[motor.id] = mode
        torque = self._byte(motor, motor.torque)
        if torque is None or torque or not self._wanted(motor):
            return torque is not None
        here = self._read(motor, motor.position, motor.position_bytes)
        return here is not None and self._write(motor, motor.goal, here)

    def _wanted(self, motor: GuardedMotor) -> int:
        return int(self._on and self._modes.get(motor.id, motor.holds_in[0]) in motor.holds_in)

    def _switch(self, motors: Sequence[GuardedMotor]) -> None:
        self._tell_all(motors, lambda motor: motor.torque)
        self._tell_all(motors, lambda motor: motor.lock)

    def _tell_all(self, motors: Sequence[GuardedMotor], address_of: Callable[[GuardedMotor], int | None]) -> None:
        for address in {address_of(motor) for motor in motors} - {None}:
            group = self._sdk.GroupSyncWrite(self._port, self._packets, address, 1)
            for motor in motors:
                if address_of(motor) == address:
                    group.addParam(motor.id, [self._wanted(motor)])
            group.txPacket()

    def _byte(self, motor: GuardedMotor, address: int) -> int | None:
        data = self._read(motor, address, 1)
        return None if data is None else data[0]

    def _read(self, motor: GuardedMotor, address: int, size: int) -> list[int] | None:
        """Bytes as they lie in the servo; None where it does not answer."""
        data, result, _ = self._packets.readTxRx(self._port, motor.id, address, size)
        return list(data) if result == self._sdk.COMM_SUCCESS and len(data) == size else None

    def _write(self, motor: GuardedMotor, address: int, data: list[int]) -> bool:
        result, _ = self._packets.writeTxRx(self._port, motor.id, address, len(data), data)
        return bool(result == self._sdk.COMM_SUCCESS)

"""One servo: memory and motion, both functions of the time that they are asked at.

Motion, with torque on and in position mode: the encoder nears the goal exponentially, with one time constant. With
torque off it stays, or goes where a hand moves it. Present_Position = encoder - Homing_Offset; the limits hold in those
coordinates.

As on the real servo: switching torque on holds the position of that moment; what is written to the EEPROM holds until
the power is cut, and beyond only if Lock was 0 when it was written.
Not modelled: speed and acceleration limits, gravity, the step, wheel and PWM modes (the encoder stands still), and that
some firmware switches torque on by itself when a goal is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from scripts.emulators.feetech.registers import EEPROM_BYTES, MEMORY_BYTES, READ_ONLY, REGISTERS, RESOLUTION

Hand = Callable[[int], float]

_NS = 1_000_000_000
_MULTI_TURN = 0x10
_FEEDBACK = range(56, 71)
_VELOCITY_STEP_NS = 1_000_000
_MOVING_STEPS_PER_S = 20
# What pulls against the position error: full duty at 250 steps, 6.5 mA a unit of current.
_LOAD_PER_STEP = 4
_CURRENT_PER_LOAD = 0.2


class Servo:
    """A servo with its power on.

    Args:
        eeprom: register values that differ from the factory's.
        encoder: where the shaft stands, in steps from 0 to 4095.
        time_constant_s: of the motion towards the goal.
        hand: encoder steps at a time in nanoseconds; moves the shaft while torque is off. None: nothing does.
    """

    def __init__(
        self, eeprom: Mapping[str, int], encoder: float, time_constant_s: float, hand: Hand | None = None
    ) -> None:
        self._time_constant_ns = time_constant_s * _NS
        self._hand = hand
        self._start = self._target = encoder
        self._since_ns = 0
        self._memory = bytearray(MEMORY_BYTES)
        for name, register in REGISTERS.items():
            self._set(name, eeprom.get(name, register.default))
        self._stored = bytes(self._memory[:EEPROM_BYTES])

    def value(self, name: str, now_ns: int) -> int:
        """What a register holds."""
        register = REGISTERS[name]
        return register.decode(self.read(register.address, register.size, now_ns))

    def read(self, address: int, size: int, now_ns: int) -> bytes:
        """`size` bytes from `address`; beyond the table there are zeros."""
        if address + size > _FEEDBACK.start and address < _FEEDBACK.stop:
            self._refresh(now_ns)
        return bytes(self._memory[address : address + size].ljust(size, b"\0"))

    def write(self, address: int, data: bytes, now_ns: int) -> None:
        """Write bytes from `address`; those that cannot be written stay as they are."""
        here, torque_was_on = self.encoder(now_ns), self.torque_on
        for offset, byte in enumerate(data):
            if (at := address + offset) < MEMORY_BYTES and at not in READ_ONLY:
                self._memory[at] = byte
                if at < EEPROM_BYTES and not self._get("Lock"):
                    self._stored = self._stored[:at] + bytes((byte,)) + self._stored[at + 1 :]
        self._move_from(here, torque_was_on, now_ns)

    def put(self, name: str, value: int, now_ns: int) -> None:
        """Set a register from outside the bus, also one that a host cannot write: a fault in Status, a cut torque."""
        here, torque_was_on = self.encoder(now_ns), self.torque_on
        self._set(name, value)
        self._move_from(here, torque_was_on, now_ns)

    def cycle_power(self, now_ns: int) -> None:
        """Cut the power and give it back: torque off, and the EEPROM as it was stored."""
        here = self.encoder(now_ns)
        for name, register in REGISTERS.items():
            if register.address >= EEPROM_BYTES:
                self._set(name, register.default)
        self._memory[:EEPROM_BYTES] = self._stored
        self._start, self._since_ns = here, now_ns

    @property
    def torque_on(self) -> bool:
        return self._get("Torque_Enable") == 1

    def encoder(self, now_ns: int) -> float:
        """Where the shaft stands, in steps."""
        if self.torque_on:
            elapsed_ns = max(0, now_ns - self._since_ns)
            return self._target + (self._start - self._target) * math.exp(-elapsed_ns / self._time_constant_ns)
        return self._start if self._hand is None else self._hand(now_ns)

    def _move_from(self, here: float, torque_was_on: bool, now_ns: int) -> None:
        self._start, self._since_ns = here, now_ns
        if not self.torque_on:
            return
        if not torque_was_on:
            self._set("Goal_Position", self._position(here))
        offset = self._get("Homing_Offset")
        if self._get("Operating_Mode") == 0:
            low, high = self._get("Min_Position_Limit"), self._get("Max_Position_Limit")
            self._target = min(high, max(low, self._get("Goal_Position"))) + offset
        else:
            self._target = here

    def _position(self, encoder: float) -> int:
        position = round(encoder) - self._get("Homing_Offset")
        return position if self._get("Phase") & _MULTI_TURN else position % RESOLUTION

    def _refresh(self, now_ns: int) -> None:
        here = self.encoder(now_ns)
        before = self.encoder(now_ns - _VELOCITY_STEP_NS)
        velocity = (here - before) * _NS / _VELOCITY_STEP_NS
        pull = (self._target - here) * _LOAD_PER_STEP if self.torque_on else 0.0
        load = round(max(-1000.0, min(1000.0, pull)))
        self._set("Present_Position", self._position(here))
        self._set("Present_Velocity", round(max(-32767.0, min(32767.0, velocity))))
        self._set("Present_Load", load)
        self._set("Present_Current", round(abs(load) * _CURRENT_PER_LOAD))
        self._set("Moving", int(abs(velocity) > _MOVING_STEPS_PER_S))

    def _get(self, name: str) -> int:
        register = REGISTERS[name]
        return register.decode(bytes(self._memory[register.address : register.address + register.size]))

    def _set(self, name: str, value: int) -> None:
        register = REGISTERS[name]
        self._memory[register.address : register.address + register.size] = register.encode(value)

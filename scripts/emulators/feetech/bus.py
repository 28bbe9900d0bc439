"""The wire: a request goes in, the servos' answers come out with the time at which their last byte has arrived.

Half duplex, ten bit times a byte. A request that is handed over while the wire is still busy waits for it; what a real
adapter would do then, mix up both, is not modelled. Nor is the adapter's own delay, some hundred microseconds on USB.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from scripts.emulators.feetech.faults import Fault, FaultInjector
from scripts.emulators.feetech.history import History
from scripts.emulators.feetech.packets import BROADCAST_ID, Instruction, Request, packet
from scripts.emulators.feetech.registers import MEMORY_BYTES, NAMES, REGISTERS
from scripts.emulators.feetech.servo import Servo

BAUD_RATES = (1_000_000, 500_000, 250_000, 128_000, 115_200, 57_600, 38_400, 19_200)
_NS = 1_000_000_000
_BITS_A_BYTE = 10
_DELAY_UNIT_NS = 2_000


class Answer(NamedTuple):
    """Bytes that the host has in full at `due_ns`, on the clock of the requests."""

    due_ns: int
    data: bytes


class Bus:
    """Servos on one wire."""

    def __init__(self, servos: Iterable[Servo], injector: FaultInjector) -> None:
        self.servos = list(servos)
        self.injector = injector
        self.history = History()
        self._free_ns = 0

    def by_id(self, now_ns: int) -> dict[int, Servo]:
        """The servos under the ids that they have now."""
        return {servo.value("ID", now_ns): servo for servo in self.servos}

    def handle(self, request: Request, now_ns: int, baud: int) -> list[Answer]:
        """Carry out a request that a host with its port at `baud` sends at `now_ns`."""
        self.history.counts["requests"] += 1
        sent_ns = max(now_ns, self._free_ns) + _wire_ns(request.wire_bytes, baud)
        self._free_ns = sent_ns
        listening = {
            servo_id: servo
            for servo_id, servo in self.by_id(sent_ns).items()
            if _baud(servo, sent_ns) == baud and request.servo_id in (servo_id, BROADCAST_ID)
        }
        match request.instruction:
            case Instruction.PING:
                return self._answer(request, dict.fromkeys(sorted(listening), b""), listening, sent_ns)
            case Instruction.READ if _readable(request, 2) and request.servo_id != BROADCAST_ID:
                return self._read(request, list(listening), listening, sent_ns)
            case Instruction.SYNC_READ if _readable(request, 3):
                asked = [servo_id for servo_id in request.parameters[2:] if servo_id in listening]
                return self._read(request, asked, listening, sent_ns)
            case Instruction.WRITE if len(request.parameters) > 1:
                return self._write(request, listening, sent_ns)
            case Instruction.SYNC_WRITE if len(request.parameters) > 2:
                return self._sync_write(request, listening, sent_ns)
        self.history.counts["not understood"] += 1
        return []

    def _read(self, request: Request, asked: list[int], servos: dict[int, Servo], sent_ns: int) -> list[Answer]:
        address, size = request.parameters[:2]
        data = {servo_id: servos[servo_id].read(address, size, sent_ns) for servo_id in asked}
        return self._answer(request, data, servos, sent_ns, NAMES.get((address, size)))

    def _write(self, request: Request, servos: dict[int, Servo], sent_ns: int) -> list[Answer]:
        address, data = request.parameters[0], request.parameters[1:]
        for servo in servos.values():
            servo.write(address, data, sent_ns)
        self._note_write(address, dict.fromkeys(servos, data), sent_ns)
        talkative = {} if request.servo_id == BROADCAST_ID else servos
        answering = {
            servo_id: b"" for servo_id, servo in talkative.items() if servo.value("Response_Status_Level", sent_ns)
        }
        return self._answer(request, answering, servos, sent_ns)

    def _sync_write(self, request: Request, servos: dict[int, Servo], sent_ns: int) -> list[Answer]:
        address, size = request.parameters[:2]
        rest = request.parameters[2:]
        written = {}
        for start in range(0, len(rest) - size, size + 1):
            servo_id, data = rest[start], rest[start + 1 : start + 1 + size]
            if servo_id in servos:
                servos[servo_id].write(address, data, sent_ns)
                written[servo_id] = data
        self._note_write(address, written, sent_ns)
        return []

    def _answer(
        self, request: Request, data: dict[int, bytes], servos: dict[int, Servo], sent_ns: int, name: str | None = None
    ) -> list[Answer]:
        fault = self.injector.draw(request.instruction) if data else None
        victims = self.injector.victims(fault, data) if fault else set()
        if fault:
            self.history.counts[fault] += 1
        if name:
            values = {servo_id: REGISTERS[name].decode(each) for servo_id, each in data.items()}
            self.history.add(sent_ns, "read", name, values, fault)
        answers, at_ns = [], sent_ns
        for servo_id, parameters in data.items():
            servo = servos[servo_id]
            status = packet(servo_id, servo.value("Status", sent_ns), parameters)
            # 0 is no delay at all in the register, and still one unit on the wire.
            delay_ns = max(1, servo.value("Return_Delay_Time", sent_ns)) * _DELAY_UNIT_NS
            at_ns += delay_ns + _wire_ns(len(status), _baud(servo, sent_ns))
            hit = fault if servo_id in victims else None
            if hit == Fault.SILENCE:
                continue
            if hit == Fault.CHECKSUM:
                status = status[:-1] + bytes((status[-1] ^ 0xFF,))
            late_ns = round(self.injector.plan.late_s * _NS) if hit == Fault.LATE else 0
            answers.append(Answer(at_ns + late_ns, status))
        self._free_ns = max(self._free_ns, at_ns)
        return answers

    def _note_write(self, address: int, written: dict[int, bytes], sent_ns: int) -> None:
        sizes = {len(data) for data in written.values()}
        if len(sizes) == 1 and (name := NAMES.get((address, sizes.pop()))):
            values = {servo_id: REGISTERS[name].decode(data) for servo_id, data in written.items()}
            self.history.add(sent_ns, "write", name, values, None)


def _readable(request: Request, least_parameters: int) -> bool:
    return len(request.parameters) >= least_parameters and request.parameters[1] <= MEMORY_BYTES


def _baud(servo: Servo, now_ns: int) -> int:
    rate = servo.value("Baud_Rate", now_ns)
    return BAUD_RATES[rate] if rate < len(BAUD_RATES) else 0


def _wire_ns(count: int, baud: int) -> int:
    return count * _BITS_A_BYTE * _NS // baud if baud else 0

"""How another process looks into an emulator and makes it misbehave: one JSON object a line on a Unix socket, one back.

    {"do": "faults", "silence": 0.01, "instructions": ["sync_read"]}  the fields of faults.FaultPlan; none: no faults
    {"do": "registers"}                                               every register of every servo
    {"do": "registers", "names": ["Torque_Enable"]}                   {"values": {"1": {"Torque_Enable": 0}, ...}}
    {"do": "put", "id": 3, "name": "Status", "value": 32}             set one, also one that hosts cannot write
    {"do": "history", "kind": "write", "register": "Goal_Position", "since": 0}
    {"do": "counts"}                                                  requests, faults, the emulator's own lateness
    {"do": "cycle_power"}                                             every servo off and on again

An answer has `"ok": true`, or `"ok": false` and an `"error"`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.emulators.feetech.bus import Bus
from scripts.emulators.feetech.faults import FaultPlan
from scripts.emulators.feetech.registers import REGISTERS

_CHUNK_BYTES = 1 << 16


class Console:
    """Carries out commands on a bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def answer(self, line: bytes, now_ns: int) -> bytes:
        """The line to send back; whatever is wrong with the command is in it."""
        try:
            reply = {"ok": True, **self._carry_out(json.loads(line), now_ns)}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        return json.dumps(reply).encode() + b"\n"

    def _carry_out(self, command: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
        servos = self._bus.by_id(now_ns)
        match command["do"]:
            case "faults":
                self._bus.injector.follow(FaultPlan.from_json({k: v for k, v in command.items() if k != "do"}))
                return {}
            case "registers":
                names = command.get("names", list(REGISTERS))
                return {
                    "values": {
                        servo_id: {name: servo.value(name, now_ns) for name in names}
                        for servo_id, servo in servos.items()
                    }
                }
            case "put":
                servos[command["id"]].put(command["name"], command["value"], now_ns)
                return {}
            case "history":
                kind, register = command.get("kind"), command.get("register")
                return {"accesses": self._bus.history.select(kind, register, command.get("since", 0))}
            case "counts":
                return {"counts": dict(self._bus.history.counts)}
            case "cycle_power":
                for servo in servos.values():
                    servo.cycle_power(now_ns)
                return {}
        raise ValueError(
            f"command {command['do']!r} found, expected faults, registers, put, history, counts or cycle_power"
        )


def ask(path: Path, command: Mapping[str, Any], limit_s: float = 10) -> dict[str, Any]:
    """Send one command to the emulator whose console is at `path`, and wait for its answer.

    Raises:
        RuntimeError: the emulator refuses the command.
        OSError: there is no emulator, or it does not answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limit_s)
        connection.connect(str(path))
        connection.sendall(json.dumps(command).encode() + b"\n")
        received = bytearray()
        while not received.endswith(b"\n"):
            chunk = connection.recv(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionResetError(f"the emulator at {path} closed its console")
            received += chunk
    reply: dict[str, Any] = json.loads(received)
    if not reply.pop("ok"):
        raise RuntimeError(reply["error"])
    return reply

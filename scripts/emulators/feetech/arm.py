"""An emulated arm in a process of its own, as tests and drills use it.

with EmulatedArm("follower", folder) as arm:
    robot = SO101Follower(SO101FollowerConfig(port=arm.port, id=arm.name, calibration_dir=arm.calibration_dir))
    ...
    arm.torque()  # {1: 0, 2: 0, ...}
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.emulators.feetech.console import ask
from scripts.emulators.feetech.history import Access

_ROOT = Path(__file__).parents[3]
_END_LIMIT_S = 10


class EmulatedArm:
    """Starts the emulator; leaving the context ends it.

    Args:
        role: `leader` or `follower`; also the arm's `--robot.id` or `--teleop.id`.
        folder: for link, console and calibration file; short enough for a socket's path (some 100 bytes).
        flags: further flags of the emulator's.

    Attributes:
        port: what to pass as the driver's port.
        calibration_dir: what to pass as `calibration_dir`, with `name` as the id.
    """

    def __init__(self, role: str, folder: Path, *flags: str) -> None:
        self.name = role
        self.port = str(folder / role)
        self.calibration_dir = folder / "calibration"
        self._console = folder / f"{role}.console"
        calibration = self.calibration_dir / f"{role}.json"
        required = (f"--role={role}", f"--link={self.port}", f"--calibration={calibration}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.emulators.feetech", *required, *flags],
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        assert self._process.stdout is not None
        # The first line says that everything is in place; an emulator that fails instead closes its output.
        if not self._process.stdout.readline():
            raise RuntimeError(f"the emulated {role} did not start, exit code {self._process.wait(_END_LIMIT_S)}")

    def __enter__(self) -> EmulatedArm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """End the emulator."""
        self._process.terminate()
        self._process.wait(_END_LIMIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Carry out a command of the console's.

        Raises:
            RuntimeError: the emulator refuses it.
            OSError: the emulator is gone.
        """
        return ask(self._console, {"do": do, **arguments})

    def registers(self, name: str) -> dict[int, int]:
        """What a register holds, by servo id."""
        values = self.ask("registers", names=[name])["values"]
        return {int(servo_id): registers[name] for servo_id, registers in values.items()}

    def torque(self) -> dict[int, int]:
        """Torque_Enable, by servo id."""
        return self.registers("Torque_Enable")

    def history(self, kind: str, register: str, since: int = 0) -> list[dict[int, int]]:
        """The values of each read or write of a register, by servo id, oldest first."""
        return [access.values for access in self.accesses(kind, register, since)]

    def accesses(self, kind: str, register: str, since: int = 0) -> list[Access]:
        """Each read or write of a register with all that is known of it, oldest first."""
        found = self.ask("history", kind=kind, register=register, since=since)["accesses"]
        return [
            Access(**{**each, "values": {int(servo_id): value for servo_id, value in each["values"].items()}})
            for each in found
        ]

    def next_number(self) -> int:
        """The number that the next access of any register will have: `since`, to see only what comes."""
        return max((each["number"] + 1 for each in self.ask("history")["accesses"]), default=0)

"""A teleoperator in a process of its own, as control sees it: the newest value, and how old it is."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from control.teleop_memory import TeleopMemory
from transport.errors import OnbeatError, UsageError
from transport.link import Link, spawn

# lerobot's types whose `connect` starts a thread, or a library that does.
THREADED = frozenset(["homunculus_arm", "homunculus_glove", "keyboard", "keyboard_ee", "keyboard_rover", "phone"])
# Robots whose observations lerobot gives to the teleoperator, in which they carry a remote control's keys.
_TELLS = frozenset(["unitree_g1"])
# A value older than this is none: the loop holds, and counts it as a failed read.
_MAX_AGE_NS = 500_000_000
_END_LIMIT_S = 5.0
_TURN_S = 0.2


def in_process(kind: str, proxy: str, robot_kind: str) -> bool:
    """Whether a teleoperator of this type is to run in a process of its own.

    Args:
        proxy: `--teleop.proxy`.
        robot_kind: of the robot that it leads; one of `_TELLS` needs it in the loop's process, as lerobot has it.

    Raises:
        UsageError: that is none of auto, true and false, or true where it cannot be.
    """
    wanted = proxy.lower()
    if wanted not in ("auto", "true", "false"):
        raise UsageError(f"--teleop.proxy={proxy} found, expected auto, true or false")
    if robot_kind in _TELLS and wanted == "true":
        raise UsageError(
            f"--teleop.proxy=true found with --robot.type={robot_kind}, which tells its teleoperator in every frame "
            "what it observes; leave the flag away"
        )
    return wanted == "true" or (wanted == "auto" and kind in THREADED and robot_kind not in _TELLS)


class TeleopProxy:
    """Has of lerobot's teleoperator what the loop uses; `connect` in the main thread, whose end ends the process.

    Args:
        argv: lerobot's flags, `--teleop.*` among them.
        fps: ticks per second; the device is read once in each.
        events: whether `get_teleop_events` is used: drivers may forget what was pressed when they are asked.
        decode: from a value in shared memory to the device's own.
        now_ns: CLOCK_MONOTONIC.

    Attributes:
        read_ns: when the value that `get_action` returned last was read from the device; 0 before the first.
        has_events: whether there are events; known after `connect`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        fps: int,
        cpus: Sequence[int] | None,
        decode: Callable[[Any], Any],
        now_ns: Callable[[], int],
        *,
        events: bool,
    ) -> None:
        self._message = {
            "argv": list(argv),
            "period_ns": round(1e9 / fps),
            "events": events,
            "cpus": None if cpus is None else list(cpus),
        }
        self._decode, self._now_ns = decode, now_ns
        fd = TeleopMemory.create()
        self._fd, self._memory = fd, TeleopMemory(fd)
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._name = "teleoperator"
        self._events: dict[str, bool] = {}
        self.read_ns = 0
        self.has_events = False

    def __str__(self) -> str:
        return self._name

    @property
    def is_connected(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def connect(self) -> None:
        """Start the process, and wait until the device is connected, however long a person takes for that.

        Raises:
            UsageError: it cannot be used on this machine, or is not calibrated.
            OnbeatError: it cannot be connected.
        """
        self._process, self._link = spawn(
            "control.teleop_process", self._message, [self._fd], die_with_parent=signal.SIGTERM
        )
        while True:
            if select.select([self._link.fileno()], [], [], _TURN_S)[0]:
                received = self._link.receive()
                if received is not None and "failed" in received[0]:
                    failure = UsageError if received[0]["exit_code"] == 2 else OnbeatError
                    raise failure(received[0]["failed"])
                if received is not None and "connected" in received[0]:
                    self._name, self.has_events = received[0]["connected"], received[0]["events"]
                    return
            if self._process.poll() is not None:
                raise OnbeatError(f"the teleoperator's process ended with code {self._process.returncode}; see above")

    def get_action(self) -> Any:
        """The newest action.

        Raises:
            OSError: there is none that is new enough.
        """
        found = self._memory.read()
        if found is None:
            raise TimeoutError("the teleoperator has said nothing yet")
        value, self.read_ns = found
        now_ns = self._now_ns()
        self._memory.taken_ns = now_ns
        age_ns = now_ns - self.read_ns
        if age_ns > _MAX_AGE_NS:
            raise TimeoutError(
                f"the teleoperator said nothing for {age_ns / 1e9:.1f} s"
                + ("" if self.is_connected else ", its process has ended")
                + (f": {self._memory.failure}" if self._memory.failure else "")
            )
        self._events = value.get("events", {})
        return self._decode(value["action"])

    def get_teleop_events(self) -> dict[str, bool]:
        """The device's events by name, of the same read as the last action; none where it has none."""
        return self._events

    def disconnect(self) -> None:
        """End the process; the device is disconnected by it."""
        if self._process is None or self._link is None:
            return
        self._link.close()
        self._link = None
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._fd)

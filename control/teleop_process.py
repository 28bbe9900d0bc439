"""A process for a teleoperator that has threads: they would take Python's interpreter from the loop.

It connects the device, then writes down what it says, once per tick of the loop. It ends with its link, device
disconnected.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from control.teleop_memory import TeleopMemory
from control.teleop_pace import ReadPace
from transport.errors import OnbeatError
from transport.link import child_link

_MAX_FAILURES_S = 1.0


def main() -> int:
    """Entry of the process; its link's first message has `argv`, `period_ns`, `events`, `cpus`, and a memory."""
    link, first, (memory_fd,) = child_link()
    if first["cpus"] is not None:
        os.sched_setaffinity(0, first["cpus"])
    signal.signal(signal.SIGTERM, _end)
    memory = TeleopMemory(memory_fd)
    with contextlib.ExitStack() as undo:
        try:
            # lerobot prints; the terminal belongs to the supervisor.
            with contextlib.redirect_stdout(sys.stderr):
                from control import lerobot_teleop

                device = lerobot_teleop.connected(first["argv"])
            undo.callback(lerobot_teleop.release, device, "teleoperator")
            with_events = first["events"] and lerobot_teleop.has_events(device)

            def read() -> Any:
                return lerobot_teleop.read(device, events=with_events)

            memory.write(read(), time.monotonic_ns())
        except OnbeatError as error:
            link.send({"failed": str(error), "exit_code": error.exit_code})
            return error.exit_code
        link.send({"connected": str(device), "events": with_events})
        return _pump(read, memory, link.fileno(), ReadPace(first["period_ns"]))


def _pump(read: Callable[[], Any], memory: TeleopMemory, link_fd: int, pace: ReadPace) -> int:
    failing_since_s: float | None = None
    next_ns = time.monotonic_ns()
    while not select.select([link_fd], [], [], max(next_ns - time.monotonic_ns(), 0) / 1e9)[0]:
        began_ns = time.monotonic_ns()
        try:
            value = read()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything for once; its value then grows old
            now_s = time.monotonic()
            failing_since_s = failing_since_s or now_s
            memory.fail(" ".join(f"{error}".split()) or type(error).__name__)
            if now_s - failing_since_s > _MAX_FAILURES_S:
                return 1
        else:
            failing_since_s = None
            memory.write(value, time.monotonic_ns())
        next_ns = pace.next_ns(began_ns, time.monotonic_ns(), memory.taken_ns)
    return 0


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())

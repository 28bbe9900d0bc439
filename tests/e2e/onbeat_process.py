"""Runs the real command and watches it: for tests that look at what is on disk afterwards."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from control.key_codes import DEVICE_KEYS
from scripts.drills.process import ONBEAT, OnbeatProcess

__all__ = ["ONBEAT", "QUICK", "OnbeatProcess", "onbeat", "record", "step_on"]

# Small pictures and a codec that any machine sustains, for tests that are about something else.
QUICK = ("--env.kwargs={width: 160, height: 120}", "--dataset.rgb_encoder.vcodec=h264", "--env.seed=1")


def record(root: Path, home: Path, *arguments: str, quick: bool = True, stdin: int | None = None) -> OnbeatProcess:
    """`onbeat record` into `root`."""
    flags = (*(QUICK if quick else ()), f"--dataset.root={root}", *arguments)
    return OnbeatProcess([ONBEAT, "record", *flags], home, stdin=stdin)


def onbeat(home: Path, *arguments: str, limit_s: float = 100) -> tuple[int, str]:
    """Run a verb to its end; returns the exit code and the output."""
    with OnbeatProcess([ONBEAT, *arguments], home) as process:
        code = process.finish(limit_s)
        return code, process.output


def step_on(fd: int, key: str) -> None:
    """`struct input_event` for a key that goes down and up, to a named pipe in the place of an event file."""
    os.write(fd, b"".join(struct.pack("=qqHHi", 0, 0, 1, DEVICE_KEYS[key], value) for value in (1, 0)))

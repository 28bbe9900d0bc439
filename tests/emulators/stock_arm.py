"""Stock lerobot's programs on emulated arms, and what their logs and a dataset say about each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import driver_units
import numpy as np

from scripts.emulators.feetech.so101 import JOINTS

LIMIT_S = 150


def run_stock(program: str, home: Path, flags: Sequence[str]) -> bool:
    """Run to the end; False if the driver gave up, after its 50 ms, on an emulator that a busy machine held up."""
    run = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Without DISPLAY and without a terminal, no keyboard is listened to.
        env={"PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_OFFLINE": "1"},
        timeout=LIMIT_S,
        check=False,
    )
    if run.returncode and "There is no status packet!" in run.stdout:
        return False
    assert run.returncode == 0, run.stdout[-5000:]
    return True


def rows(role: str, accesses: Sequence[Mapping[int, int]]) -> np.ndarray:
    """What the driver makes of each access, float32 of shape (accesses, joints)."""
    return np.array([list(driver_units.units(role, steps).values()) for steps in accesses], np.float32)


def is_subsequence(part: np.ndarray, whole: np.ndarray) -> bool:
    rest = iter(whole)
    return all(any(np.array_equal(row, other) for other in rest) for row in part)


def assert_goals(written: Sequence[Mapping[int, int]], actions: np.ndarray) -> None:
    """Each Goal_Position is its action, but for what the driver cuts off behind the point, in float32 or in float64."""
    assert len(written) == len(actions)
    for goal, action in zip(written, actions, strict=True):
        wanted: Mapping[int, float] = driver_units.steps("follower", dict(zip(JOINTS, action.tolist(), strict=True)))
        for servo_id, value in goal.items():
            assert wanted[servo_id] - 1 - 1e-3 <= value <= wanted[servo_id] + 1e-3

"""A camera that dies, a camera that freezes and buses that keep silent, all in one recording of an emulated arm."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import arm_session
import numpy as np
import onbeat_process as run
import outcome
import pytest
from lerobot_camera_testfile.mischief import order

from scripts.emulators.feetech.arm import EmulatedArm

pytestmark = [pytest.mark.acceptance, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(400)]

FPS = 60
SILENT = 0.01
FRAMES = 8 * FPS
# What lerobot itself waits for an answer costs three slots of the grid.
SLOTS_OF_50_MS = 3


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 480)])
def test_cameras_and_silent_buses_hold_nothing_up(tmp_path: Path, width: int, height: int) -> None:
    root = tmp_path / "ds"
    with arm_session.short_rig(fps=FPS, width=width, height=height, pictures=18 * FPS) as rig:
        arms = {"robot": rig.follower, "teleop": rig.leader}
        flags = arm_session.dataset_flags(
            rig, num_episodes=1, episode_time_s=FRAMES / FPS, **{"rgb_encoder.vcodec": "h264"}
        )

        def heal() -> None:
            for arm in arms.values():
                arm.ask("faults")
            for camera in rig.cameras:
                rig.orders(camera).unlink(missing_ok=True)

        def disturb(process: run.OnbeatProcess) -> None:
            process.wait_for("state: recording", 90)
            for arm in arms.values():
                arm.ask("faults", silence=SILENT, instructions=["sync_read"])
            os.kill(process.pid_of("control.camera_process"), signal.SIGKILL)
            order(rig.orders("wrist"), "stall 2")
            process.wait_for("camera front: its process ended with code -9")
            process.wait_for("camera front delivers again")
            wait_for_removal(rig.orders("wrist"))

        process = arm_session.record_ours(flags, root, tmp_path, before=heal, meanwhile=disturb)
        silent_ns = {name: silences(arm) for name, arm in arms.items()}

        told, data = outcome.telemetry(root, 0), outcome.rows(root)
        assert len(data["action"]) == FRAMES
        outcome.assert_whole(root, episodes=1, numbered=False)
        outcome.assert_no_slot_lost(root, 0, FPS)
        for camera, restarts in zip(rig.cameras, (1, 0), strict=True):
            stale = told[f"cameras.{camera}.stale"].ravel()
            assert stale.any()
            assert not stale[[0, -1]].any()
            arm_session.assert_same_pictures(rig, root, camera, restarts=restarts)
        process.wait_for(r"camera wrist: \d+ of \d+ pictures older than 0.2 s", 0)

    began_ns = told["observed_ns"].ravel()
    ended_ns = began_ns[-1] + 10**9 // FPS
    after_silence = np.zeros(FRAMES, bool)
    for name, column in (("robot", "observation.state"), ("teleop", "action")):
        times = silent_ns[name][(silent_ns[name] >= began_ns[0]) & (silent_ns[name] < ended_ns)]
        frames = np.searchsorted(began_ns, times, side="right") - 1
        failed = told[f"{name}_read_failed"].ravel()
        assert len(frames), f"none of the {name}'s reads was silent: the test shows nothing"
        assert failed[frames].all()
        assert failed.sum() < FRAMES / 2
        for frame in np.flatnonzero(failed):
            np.testing.assert_array_equal(data[column][frame], data[column][max(frame - 1, 0)])
        process.wait_for(rf"{failed.sum()} times the read of the {'robot' if name == 'robot' else 'teleoperator'}", 0)
        after_silence[np.minimum(frames + 1, FRAMES - 1)] = True
    # A silent read costs a quarter of a tick, and so no slot; waiting for the stalled camera would have cost 120.
    missed = told["missed_slots"].ravel()
    assert missed[after_silence].sum() < SLOTS_OF_50_MS * after_silence.sum()
    assert missed.sum() < FPS


def silences(arm: EmulatedArm) -> np.ndarray:
    """When reads of the positions were not answered, on CLOCK_MONOTONIC in ns."""
    reads = arm.accesses("read", "Present_Position")
    return np.array([read.time_ns for read in reads if read.fault == "silence"], np.int64)


def wait_for_removal(path: Path, limit_s: float = 30) -> None:
    deadline_s = time.monotonic() + limit_s
    while path.exists():
        assert time.monotonic() < deadline_s, f"nobody took {path}"
        threading.Event().wait(0.02)

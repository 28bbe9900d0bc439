"""Control killed while it moves an emulated arm: nothing is lost, and the arm is left as configured."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path

from scripts.drills.process import ONBEAT, OnbeatProcess, send
from scripts.drills.registry import Result, drill
from scripts.drills.stage import FPS, Run, Stage
from scripts.drills.taps import Tap
from scripts.emulators.feetech.arm import EmulatedArm
from scripts.emulators.rig import make_rig

# Promised, from the death to the last motor.
_PROMISED_S = 1.0
_WAIT_S = 10.0


@drill("arm-control-killed-hold")
def arm_held(stage: Stage) -> Result:
    """Control killed with the arm's torque off: it is held."""
    return _control_killed(stage, "hold", 1)


@drill("arm-control-killed-release")
def arm_released(stage: Stage) -> Result:
    """Control killed with the arm's torque on: it is released."""
    return _control_killed(stage, "release", 0)


def _control_killed(stage: Stage, on_fault: str, wanted: int) -> Result:
    with (
        # The name of a Unix socket is short.
        tempfile.TemporaryDirectory(prefix="arm") as folder,
        make_rig(Path(folder), fps=FPS, width=160, height=120, cameras=()) as rig,
    ):
        flags = [
            *(f"--robot.on_fault={on_fault}", f"--dataset.root={stage.root}", "--dataset.repo_id=me/arm"),
            *("--dataset.no_stamp=true", f"--dataset.fps={FPS}", "--dataset.num_episodes=1", "--play_sounds=false"),
        ]
        with OnbeatProcess([ONBEAT, "record", *rig.flags, *flags], stage.folder) as process:
            run = Run(process, Tap(process.pid_of("control.process"), FPS))
            stage.runs.append(run)
            run.tap.wait_frames(stage.rng.randrange(5, 90))
            for motor in rig.follower.torque():
                rig.follower.ask("put", id=motor, name="Torque_Enable", value=1 - wanted)
            send(process.pid_of("control.process"), signal.SIGKILL)
            took_s = _until_left(rig.follower, wanted)
            code = process.finish()
    stage.expect(code == 1, f"the recorder ended with {code}, expected 1:\n{process.output}")
    stage.expect(took_s < _PROMISED_S, f"the arm was left as configured after {took_s:.2f} s")
    stage.notes.append(f"{on_fault} {took_s * 1e3:.0f} ms after the kill")
    return stage.judge()


def _until_left(arm: EmulatedArm, wanted: int) -> float:
    """Seconds until every motor's torque is as it should be."""
    began_s = time.monotonic()
    while set(arm.torque().values()) != {wanted}:
        if time.monotonic() > began_s + _WAIT_S:
            raise AssertionError(f"torque {wanted} expected, {arm.torque()} found")
        time.sleep(0.005)
    return time.monotonic() - began_s

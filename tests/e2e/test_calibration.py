"""A leader that is not calibrated, and a person at a pseudo-terminal who is asked."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import arm_session
import onbeat_process as run
import outcome
import pytest

from scripts.emulators.rig import Rig

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(300)]

FPS = 10
REFUSED = r"not calibrated.*run lerobot-calibrate with the same --teleop\.\* flags first"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Its leader's calibration file is lost."""
    with arm_session.short_rig(fps=FPS, width=160, height=120, cameras=("front",)) as made:
        _file(made).unlink()
        yield made


def _file(rig: Rig) -> Path:
    return rig.leader.calibration_dir / f"{rig.leader.name}.json"


def _record(rig: Rig, root: Path, home: Path, stdin: int) -> run.OnbeatProcess:
    flags = arm_session.dataset_flags(rig, num_episodes=1, episode_time_s=1, **{"rgb_encoder.vcodec": "h264"})
    ours = [f"--dataset.root={root}", "--writer.allow_slow=true", "--timing.allow_slow_cameras=true"]
    return run.OnbeatProcess([run.ONBEAT, "record", *flags, *ours], home, stdin=stdin)


def _seen(process: run.OnbeatProcess, text: str, times: int) -> None:
    deadline_s = time.monotonic() + 60
    while process.output.count(text) < times:
        assert time.monotonic() < deadline_s, process.output
        threading.Event().wait(0.05)


def test_it_is_calibrated_by_lerobot_and_then_recorded(rig: Rig, tmp_path: Path, terminal: tuple[int, int]) -> None:
    person, command = terminal
    before = rig.leader.registers("Homing_Offset")
    with _record(rig, tmp_path / "ds", tmp_path, command) as process:
        process.wait_for(REFUSED, 90)
        os.write(person, b"yes\n")
        process.wait_for("Running calibration of", 60)
        os.write(person, b"\n")  # the arm is in the middle of its ranges
        process.wait_for("Recording positions")
        _seen(process, "shoulder_pan", 40)  # so often it was looked where the joint is: it swings
        os.write(person, b"\n")
        process.wait_for("Calibration saved to", 30)
        os.write(person, b"\n")
        assert process.finish() == 0, process.output
    made = json.loads(_file(rig).read_text())
    assert {joint["id"]: joint["homing_offset"] for joint in made.values()} == rig.leader.registers("Homing_Offset")
    assert rig.leader.registers("Homing_Offset") != before
    assert all(joint["range_min"] < joint["range_max"] for joint in made.values())
    outcome.assert_whole(tmp_path / "ds", episodes=1, numbered=False)


def test_enter_alone_changes_nothing(rig: Rig, tmp_path: Path, terminal: tuple[int, int]) -> None:
    person, command = terminal
    since = rig.leader.next_number()
    with _record(rig, tmp_path / "ds", tmp_path, command) as process:
        process.wait_for(REFUSED, 90)
        os.write(person, b"\n")
        assert process.finish() == 2, process.output
    assert not _file(rig).exists()
    assert not rig.leader.accesses("write", "Homing_Offset", since)
    assert not (tmp_path / "ds").exists()

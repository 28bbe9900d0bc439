"""Stock lerobot-record and lerobot-replay on two emulated arms and two `testfile` cameras."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import driver_units
import numpy as np
import pytest
from lerobot.datasets import LeRobotDataset

from control.envs import frame_code
from scripts.emulators.feetech.arm import EmulatedArm
from scripts.emulators.feetech.so101 import JOINTS
from scripts.emulators.numbered_video import write_numbered_video

pytestmark = pytest.mark.serial


FPS = 30
EPISODE_S = 3
LIMIT_S = 90
ATTEMPTS = 3
CAMERAS = ("front", "wrist")


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


def arm_flags(section: str, kind: str, arm: EmulatedArm) -> list[str]:
    return [
        f"--{section}.type={kind}",
        f"--{section}.port={arm.port}",
        f"--{section}.id={arm.name}",
        f"--{section}.calibration_dir={arm.calibration_dir}",
    ]


def rows(role: str, accesses: list[dict[int, int]]) -> np.ndarray:
    """What the driver makes of each access, float32 of shape (accesses, joints)."""
    return np.array([list(driver_units.units(role, steps).values()) for steps in accesses], np.float32)


def is_subsequence(part: np.ndarray, whole: np.ndarray) -> bool:
    rest = iter(whole)
    return all(any(np.array_equal(row, other) for other in rest) for row in part)


def column(dataset: LeRobotDataset, name: str) -> np.ndarray:
    return np.array([np.asarray(value, np.float32) for value in dataset.hf_dataset.with_format("numpy")[name]])


class Goals:
    """The goals that were written to an arm since they were last forgotten."""

    def __init__(self, arm: EmulatedArm) -> None:
        self._arm = arm
        self._since = 0

    def forget(self) -> None:
        self._since = max((each["number"] + 1 for each in self._arm.ask("history")["accesses"]), default=0)

    def written(self) -> list[dict[int, int]]:
        return self._arm.history("write", "Goal_Position", since=self._since)


def assert_goals(written: list[dict[int, int]], actions: np.ndarray) -> None:
    """Each Goal_Position is its action, but for what the driver cuts off behind the point, in float32 or in float64."""
    assert len(written) == len(actions)
    for goal, action in zip(written, actions, strict=True):
        wanted: Mapping[int, float] = driver_units.steps("follower", dict(zip(JOINTS, action.tolist(), strict=True)))
        for servo_id, value in goal.items():
            assert wanted[servo_id] - 1 - 1e-3 <= value <= wanted[servo_id] + 1e-3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stock_programs_record_and_replay_on_emulated_arms(bench: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    dataset_flags = ["--dataset.repo_id=me/pick", f"--dataset.root={root}", "--play_sounds=false"]
    cameras = []
    for index, name in enumerate(CAMERAS):
        video = tmp_path / f"{name}.mp4"
        write_numbered_video(video, pictures=20 * FPS, fps=FPS, width=320, height=240, camera=index)
        cameras.append(f"{name}: {{type: testfile, path: {video}, width: 320, height: 240, fps: {FPS}}}")

    with EmulatedArm("follower", bench) as follower, EmulatedArm("leader", bench) as leader:
        robot = arm_flags("robot", "so101_follower", follower)
        record = [
            *robot,
            f"--robot.cameras={{{', '.join(cameras)}}}",
            *arm_flags("teleop", "so101_leader", leader),
            *dataset_flags,
            "--dataset.no_stamp=true",
            "--dataset.single_task=Pick the cube",
            f"--dataset.fps={FPS}",
            "--dataset.num_episodes=1",
            f"--dataset.episode_time_s={EPISODE_S}",
            "--dataset.reset_time_s=0",
            "--dataset.push_to_hub=false",
            "--dataset.streaming_encoding=true",
            "--dataset.rgb_encoder.vcodec=h264",
            "--dataset.encoder_threads=1",
        ]
        goals = Goals(follower)
        for _ in range(ATTEMPTS):
            shutil.rmtree(root, ignore_errors=True)
            goals.forget()
            if run_stock("lerobot-record", tmp_path, record):
                break
        assert set(follower.torque().values()) == {0}
        sent = goals.written()
        leader_reads = leader.history("read", "Present_Position")
        follower_reads = follower.history("read", "Present_Position")

        for _ in range(ATTEMPTS):
            goals.forget()
            if run_stock("lerobot-replay", tmp_path, [*robot, *dataset_flags, "--dataset.episode=0"]):
                break
        assert set(follower.torque().values()) == {0}
        replayed = goals.written()

    dataset = LeRobotDataset("me/pick", root=root, video_backend="pyav")
    assert dataset.num_episodes == 1
    assert 10 < len(dataset) <= EPISODE_S * FPS + 1
    assert dataset.meta.robot_type == "so_follower"
    assert dataset.features["action"]["names"] == [f"{joint}.pos" for joint in JOINTS]
    actions = column(dataset, "action")
    # Not simply equal: the driver asks again when an answer takes too long.
    assert is_subsequence(actions, rows("leader", leader_reads))
    assert is_subsequence(column(dataset, "observation.state"), rows("follower", follower_reads))
    assert np.ptp(actions, axis=0).min() > 1
    assert_goals(sent, actions)
    assert_goals(replayed, actions)

    for index, name in enumerate(CAMERAS):
        numbers = []
        for row in range(len(dataset)):
            picture = (dataset[row][f"observation.images.{name}"].permute(1, 2, 0) * 255).round().numpy()
            code = frame_code.read(picture.astype(np.uint8))
            assert code is not None
            assert code[1] == index
            numbers.append(code[0])
        assert numbers == sorted(numbers)
        assert len(set(numbers)) > len(numbers) // 2

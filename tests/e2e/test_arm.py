"""`onbeat record` on emulated SO-101 arms and `testfile` cameras, beside stock lerobot-record with the same flags."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onbeat_process as run
import outcome
import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "emulators")]

import driver_units  # noqa: E402 - the emulators, and their tests' helpers, are not installed
from lerobot_camera_testfile.mischief import order  # noqa: E402
from test_stock_record_emulated import (  # noqa: E402
    Goals,
    arm_flags,
    assert_goals,
    is_subsequence,
    rows,
    run_stock,
)

from control.envs import frame_code  # noqa: E402
from scripts.emulators.feetech.arm import EmulatedArm  # noqa: E402
from scripts.emulators.numbered_video import write_numbered_video  # noqa: E402

pytestmark = pytest.mark.serial


FPS = 30
CAMERAS = ("front", "wrist")
ATTEMPTS = 4
# What an emulator on a busy machine may bring about, as a real bus does not: a machine that stood still.
STARVED = ("There is no status packet", "Incorrect status packet", "motor check failed", "Port is in use")


@dataclass
class Bench:
    """Two arms and two cameras."""

    follower: EmulatedArm
    leader: EmulatedArm
    folder: Path
    flags: list[str] = field(default_factory=list)

    def orders(self, camera: str) -> Path:
        return self.folder / f"{camera}.orders"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with (
        tempfile.TemporaryDirectory(prefix="arm") as name,
        EmulatedArm("follower", Path(name)) as follower,
        EmulatedArm("leader", Path(name)) as leader,
    ):
        made = Bench(follower, leader, Path(name))
        for arm in (follower, leader):
            # An arm has no scheduler; this brings the emulator as near to that as the machine permits.
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(arm.pid, os.SCHED_FIFO, os.sched_param(60))
        cameras = []
        for index, camera in enumerate(CAMERAS):
            video = made.folder / f"{camera}.mp4"
            write_numbered_video(video, pictures=20 * FPS, fps=FPS, width=160, height=120, camera=index)
            options = f"type: testfile, path: {video}, width: 160, height: 120, fps: {FPS}"
            cameras.append(f"{camera}: {{{options}, orders: {made.orders(camera)}}}")
        made.flags = [
            *arm_flags("robot", "so101_follower", follower),
            f"--robot.cameras={{{', '.join(cameras)}}}",
            *arm_flags("teleop", "so101_leader", leader),
            "--dataset.repo_id=me/pick",
            "--dataset.no_stamp=true",
            "--dataset.single_task=Pick the cube",
            f"--dataset.fps={FPS}",
            "--dataset.num_episodes=1",
            "--dataset.reset_time_s=0",
            "--dataset.push_to_hub=false",
            "--dataset.streaming_encoding=true",
            "--dataset.encoder_threads=1",
            "--play_sounds=false",
        ]
        yield made


@contextlib.contextmanager
def recording(flags: Sequence[str], home: Path) -> Iterator[run.OnbeatProcess]:
    with run.OnbeatProcess([run.ONBEAT, "record", *flags], home) as process:
        yield process


def starved(process: run.OnbeatProcess, code: int) -> bool:
    """Whether a machine that stood still for a tenth of a second ended the session; anything else is a failure."""
    if code == 0:
        return False
    assert any(word in process.output for word in STARVED), process.output
    return True


def numbers(root: Path, camera: str) -> list[int]:
    """The number in each picture of episode 0."""
    found = []
    for picture in outcome.decode(root / f"videos/observation.images.{camera}/chunk-000/file-000.mp4"):
        code = frame_code.read(picture)
        assert code is not None
        assert code[1] == CAMERAS.index(camera)
        found.append(code[0])
    return found


def assert_same_pictures(root: Path, camera: str, restarts: int = 0) -> None:
    """What the sidecar says about a frame's picture is what the pixels say; a restarted camera counts from 0 again."""
    seen = np.array(numbers(root, camera))
    told = outcome.telemetry(root, 0)
    seq, capture_ns = (told[f"cameras.{camera}.{name}"].astype(np.int64) for name in ("seq", "capture_ns"))
    assert len(seen) == len(seq)
    restarted = np.diff(seen) < 0
    assert restarted.sum() == restarts
    assert (np.diff(seq) >= 0).all()
    assert ((np.diff(seen) != 0) == (np.diff(seq) > 0)).all()
    assert (np.diff(capture_ns) >= 0).all()
    assert (told[f"cameras.{camera}.repeated"][1:] == (np.diff(seq) == 0)).all()
    # A starved camera skips numbers and never repeats one.
    assert (np.diff(seen - seq)[~restarted] >= 0).all()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_dataset_is_stock_and_goals_are_the_leaders_positions(bench: Bench, tmp_path: Path) -> None:
    from lerobot.datasets import LeRobotDataset, aggregate_datasets

    ours, stock, merged = tmp_path / "ours", tmp_path / "stock", tmp_path / "merged"
    length = "--dataset.episode_time_s=2"
    goals = Goals(bench.follower)
    for _ in range(ATTEMPTS):
        shutil.rmtree(ours, ignore_errors=True)
        shutil.rmtree(tmp_path / "ours.onbeat", ignore_errors=True)
        goals.forget()
        with recording([*bench.flags, length, f"--dataset.root={ours}"], tmp_path) as process:
            if not starved(process, process.finish()):
                break
    process.wait_for("--dataset.streaming_encoding is ignored", 0)
    sent = goals.written()
    leader_reads = bench.leader.history("read", "Present_Position")
    follower_reads = bench.follower.history("read", "Present_Position")
    assert set(bench.follower.torque().values()) == {0}
    for _ in range(ATTEMPTS):
        shutil.rmtree(stock, ignore_errors=True)
        if run_stock("lerobot-record", tmp_path, [*bench.flags, length, f"--dataset.root={stock}"]):
            break

    found, expected = outcome.info(ours), outcome.info(stock)
    assert found["features"] == expected["features"]
    assert list(found["features"]) == list(expected["features"])
    assert {name: found[name] for name in ("fps", "robot_type")} == {"fps": FPS, "robot_type": "so_follower"}
    assert found["robot_type"] == expected["robot_type"]
    for name, roots in (("first", [ours, stock]), ("second", [stock, ours])):
        aggregate_datasets(["me/pick", "me/pick"], "me/both", roots=roots, aggr_root=merged / name)
        assert LeRobotDataset("me/both", root=merged / name, video_backend="pyav").num_episodes == 2

    told, data = outcome.telemetry(ours, 0), outcome.rows(ours)
    assert len(data["action"]) == 2 * FPS
    actions = data["action"].astype(np.float32)
    failed = told["robot_read_failed"] | told["teleop_read_failed"] | told["send_failed"]
    assert is_subsequence(actions[~told["teleop_read_failed"]], rows("leader", leader_reads))
    states = data["observation.state"].astype(np.float32)
    assert is_subsequence(states[~told["robot_read_failed"]], rows("follower", follower_reads))
    assert np.ptp(actions, axis=0).min() > 1
    assert_goals(sent, actions[~told["send_failed"]])
    np.testing.assert_array_equal(np.array(told["sent_action"])[~told["send_failed"]], actions[~told["send_failed"]])
    assert failed.sum() < len(failed) / 2
    assert (told["observed_ns"] <= told["action_sent_ns"]).all()
    assert driver_units.units("leader", leader_reads[-1]).keys() == {
        name.removesuffix(".pos") for name in found["features"]["action"]["names"]
    }
    for camera in CAMERAS:
        assert_same_pictures(ours, camera)
    outcome.assert_whole(ours, episodes=1, numbered=False)
    outcome.assert_no_slot_lost(ours, 0, FPS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_camera_killed_and_a_camera_stalled_hold_nothing_up(bench: Bench, tmp_path: Path) -> None:
    root = tmp_path / "ds"
    for _ in range(ATTEMPTS):
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(tmp_path / "ds.onbeat", ignore_errors=True)
        with recording(
            [*bench.flags, "--dataset.rgb_encoder.vcodec=h264", f"--dataset.root={root}"], tmp_path
        ) as process:
            try:
                process.wait_for("state: recording", 90)
                os.kill(process.pid_of("control.camera_process"), signal.SIGKILL)
                order(bench.orders("wrist"), "stall 2")
                process.wait_for("camera front: its process ended with code -9")
                process.wait_for("camera front delivers again")
                wait_for_removal(bench.orders("wrist"))
                process.wait_for(r"state: recording .* frames: (1[2-9]\d|[2-9]\d\d)")
                os.kill(process.pid, signal.SIGINT)
            except AssertionError:
                # Not the machine's fault: `starved` says what happened instead.
                assert starved(process, process.finish())
                continue
            if not starved(process, process.finish()):
                break
    told = outcome.telemetry(root, 0)
    for camera, restarts in zip(CAMERAS, (1, 0), strict=True):
        stale = told[f"cameras.{camera}.stale"]
        assert stale.any()
        assert not stale[0]
        assert not stale[-1]
        assert_same_pictures(root, camera, restarts)
    # Waiting for the stalled camera would have cost 60 slots, for the killed one more.
    assert told["missed_slots"].sum() < FPS
    outcome.assert_whole(root, episodes=1, numbered=False)
    outcome.assert_no_slot_lost(root, 0, FPS)
    process.wait_for(r"camera wrist: \d+ of \d+ pictures older than 0.2 s", 0)


def wait_for_removal(path: Path, limit_s: float = 30) -> None:
    deadline_s = time.monotonic() + limit_s
    while path.exists():
        assert time.monotonic() < deadline_s, f"nobody took {path}"
        threading.Event().wait(0.02)

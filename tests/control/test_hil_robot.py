"""HIL-SERL's configuration of a real robot, on lerobot's own SO-101 drivers, emulated buses and a `testfile` camera."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hil_arms import ATTEMPTS, CROP, PLUGIN, SIZE, Ticking, built, device, last, written

# hil_arms has made these importable.
from hil_scripted.script import MOVE

from control import hil_config
from control.abort import Abort
from control.errors import SessionAborted
from scripts.emulators.feetech.arm import EmulatedArm
from scripts.emulators.feetech.so101 import JOINTS
from transport.link import Link

pytestmark = [pytest.mark.serial, pytest.mark.usefixtures("as_before")]


@pytest.fixture
def arms() -> Iterator[tuple[EmulatedArm, EmulatedArm]]:
    with (
        tempfile.TemporaryDirectory(prefix="arm") as name,
        EmulatedArm("follower", Path(name)) as follower,
        EmulatedArm("leader", Path(name)) as leader,
    ):
        for arm in (follower, leader):
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(arm.pid, os.SCHED_FIFO, os.sched_param(60))
        yield follower, leader


class Declared(Exception):
    """What a stock recorder was about to create its dataset with."""


def stock_features(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The features that lerobot's own control_loop makes from the same configuration, on its own environment."""
    from lerobot.rl import gym_manipulator

    def create(*args: Any, features: dict[str, Any], **kwargs: Any) -> None:
        raise Declared(features)

    monkeypatch.setattr(gym_manipulator.LeRobotDataset, "create", create)
    monkeypatch.setattr(gym_manipulator, "precise_sleep", lambda seconds: None)
    config = hil_config.read(argv)
    for left in reversed(range(ATTEMPTS)):
        env, teleop = None, None
        try:
            env, teleop = gym_manipulator.make_robot_env(config.env)
            processors = gym_manipulator.make_processors(env, teleop, config.env, config.device)
            gym_manipulator.control_loop(env, *processors, teleop, config)
        except Declared as declared:
            features: dict[str, Any] = declared.args[0]
            return features
        except ConnectionError:
            if not left:
                raise
        finally:
            if env is not None:
                env.close()
            if teleop is not None:
                teleop.disconnect()
    raise AssertionError("control_loop declared nothing")


def test_columns_and_pictures_are_stocks(
    arms: tuple[EmulatedArm, EmulatedArm], guarded_link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the arm moves, and when: with nobody intervening it holds its last target."""
    import torch
    from lerobot.processor import ImageCropResizeProcessorStep

    follower, leader = arms
    words = ["move", "none", "move", "success", "move", "again"]
    argv = [written(tmp_path, follower, leader, teleop={**device("scripted_leader", leader), "words": words}), PLUGIN]
    source = built(argv, guarded_link)
    try:
        ticking = Ticking(source)
        actions, outcomes = [], []
        for _ in words:
            observed = last(follower, "follower")
            row, (picture,), outcome = ticking.tick()
            np.testing.assert_array_equal(row["observation.state"], observed)
            np.testing.assert_array_equal(row["sent_action"], row["action"])
            assert row["observed_ns"] < outcome.action_sent_ns
            assert row["cameras.front.seq"] > 0
            if outcome.is_intervention:
                np.testing.assert_array_equal(row["action"], last(leader, "leader"))
            actions.append(row["action"])
            outcomes.append(outcome)
        for held in (1, 3, 5):
            np.testing.assert_array_equal(actions[held], actions[held - 1])
        assert [outcome.is_intervention for outcome in outcomes] == [word == "move" for word in words]
        assert [outcome.success for outcome in outcomes] == [word == "success" for word in words]
        assert [outcome.reward for outcome in outcomes] == [float(word == "success") for word in words]
        assert [outcome.rerecord for outcome in outcomes] == [word == "again" for word in words]
        assert [outcome.terminated for outcome in outcomes] == [word in ("success", "again") for word in words]

        # The newest picture is in the camera's stand-in as it came, and in the next draft as it is recorded.
        raw = torch.from_numpy(source._rollout._env._env.robot.cameras["front"].own.copy())  # type: ignore[attr-defined]
        key = "observation.images.front"
        tensor = raw.permute(2, 0, 1).unsqueeze(0).contiguous().float() / 255
        expected = ImageCropResizeProcessorStep({key: CROP}, SIZE).observation({key: tensor})[key][0].numpy()
        assert picture.shape == (3, *SIZE)
        np.testing.assert_array_equal(ticking.draft.pictures[0], expected)
        assert np.ptp(expected) > 0.2
    finally:
        source.close()
    assert set(follower.torque().values()) == {0}
    declared = source.schema.features()
    assert declared["action"]["names"] == {f"{joint}.pos": index for index, joint in enumerate(JOINTS)}
    found = stock_features(argv, monkeypatch)
    assert declared == {key: {**value, "shape": tuple(value["shape"])} for key, value in found.items()}
    assert list(declared) == list(found)


def test_a_leader_without_events_always_acts(
    arms: tuple[EmulatedArm, EmulatedArm], guarded_link: Link, tmp_path: Path
) -> None:
    follower, leader = arms
    processor = {"image_preprocessing": None, "observation": {"add_current_to_observation": True}}
    source = built([written(tmp_path, follower, leader, processor=processor)], guarded_link)
    try:
        names = [f"{joint}.pos" for joint in JOINTS]
        assert source.schema.features()["action"] == {"dtype": "float32", "shape": (6,), "names": names}
        ticking = Ticking(source)
        row, (picture,), outcome = ticking.tick()
        np.testing.assert_array_equal(row["action"], last(leader, "leader"))
        assert outcome.is_intervention
        assert not outcome.terminated
        assert picture.shape == (3, 120, 160)
        # Positions and currents, which are read apart and held apart.
        assert row["observation.state"].shape == (12,)
        follower.ask("faults", instructions=["sync_read"], next={"silence": 2})
        held, _, _ = ticking.tick()
        failed, _, _ = ticking.tick()
        assert [held["robot_read_failed"], failed["robot_read_failed"]] == [False, True]
        np.testing.assert_array_equal(failed["observation.state"], held["observation.state"])
    finally:
        source.close()


@pytest.mark.parametrize("after_s", [0.3, 1.5], ids=["in the trajectory", "in the time after it"])
def test_a_reset_is_cut_short_and_the_bus_is_left_usable(
    arms: tuple[EmulatedArm, EmulatedArm], guarded_link: Link, tmp_path: Path, after_s: float
) -> None:
    follower, leader = arms
    reset = {"fixed_reset_joint_positions": [5.0] * len(JOINTS), "reset_time_s": 60.0, "control_time_s": 60.0}
    abort = Abort()
    source = built([written(tmp_path, follower, leader, processor={"reset": reset})], guarded_link, abort)
    since = follower.next_number()
    timer = threading.Timer(after_s, lambda: abort.ask("ended by SIGTERM"))
    try:
        timer.start()
        with pytest.raises(SessionAborted, match="ended by SIGTERM"):
            Ticking(source)
        # lerobot's trajectory has 50 targets.
        targets = len(follower.history("write", "Goal_Position", since))
        assert 0 < targets < 50 if after_s < 1 else targets == 50
        assert not source._rollout._env._env.robot.bus.port_handler.is_using  # type: ignore[attr-defined]
    finally:
        timer.join()
        source.close(failed=True)
    assert set(follower.torque().values()) == {0}


def urdf(folder: Path) -> Path:
    """An arm of the follower's joints: one around z, three around y, one around x and the gripper."""
    axes = dict(zip(JOINTS, ("0 0 1", "0 1 0", "0 1 0", "0 1 0", "1 0 0", "0 0 1"), strict=True))
    links = ["base", *(f"{joint}_link" for joint in JOINTS)]
    inertia = '<inertia ixx="1e-3" ixy="0" ixz="0" iyy="1e-3" iyz="0" izz="1e-3"/>'
    body = "".join(f'<link name="{link}"><inertial><mass value="0.1"/>{inertia}</inertial></link>' for link in links)
    for parent, child, (joint, axis) in zip(links, links[1:], axes.items(), strict=False):
        body += (
            f'<joint name="{joint}" type="revolute"><parent link="{parent}"/><child link="{child}"/>'
            f'<origin xyz="0.1 0 0.02"/><axis xyz="{axis}"/>'
            '<limit lower="-3.1" upper="3.1" effort="10" velocity="10"/></joint>'
        )
    path = folder / "arm.urdf"
    path.write_text(f'<robot name="arm">{body}</robot>')
    return path


def test_deltas_reach_the_joints_through_kinematics(
    arms: tuple[EmulatedArm, EmulatedArm], guarded_link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("placo", reason="lerobot's kinematics are not installed: pip install 'lerobot[kinematics]'")
    follower, leader = arms
    kinematics = {
        "urdf_path": str(urdf(tmp_path)),
        "target_frame_name": "wrist_roll_link",
        "end_effector_bounds": {"min": [-1.0, -1.0, -1.0], "max": [1.0, 1.0, 1.0]},
        "end_effector_step_sizes": {"x": 0.01, "y": 0.01, "z": 0.01},
    }
    words = ["none", "move", "move", "none", "none"]
    teleop = {"type": "scripted_hil", "words": words}
    argv = [written(tmp_path, follower, leader, teleop=teleop, processor={"inverse_kinematics": kinematics}), PLUGIN]
    source = built(argv, guarded_link)
    try:
        ticking = Ticking(source)
        rows = [ticking.tick()[0] for _ in words]
    finally:
        source.close()
    assert [row["action"].tolist() for row in rows] == [list(MOVE) if w == "move" else [0, 0, 0, 1] for w in words]
    sent = np.array([row["sent_action"] for row in rows])
    moved = np.abs(np.diff(sent[:, :5], axis=0)).max(axis=1)
    assert (moved[:2] > 0.1).all(), moved
    declared = source.schema.features()
    found = stock_features(argv, monkeypatch)
    assert declared == {key: {**value, "shape": tuple(value["shape"])} for key, value in found.items()}

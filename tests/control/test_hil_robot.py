"""HIL-SERL's configuration of a real robot, on lerobot's own SO-101 drivers, emulated buses and a `testfile` camera."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path[:0] = [
    str(Path(__file__).parents[2]),
    *(str(Path(__file__).parents[1] / name) for name in ("emulators", "e2e")),
]

import driver_units  # noqa: E402 - the emulators, and their tests' helpers, are not installed
from hil_scripted.script import MOVE  # noqa: E402

from control import hil_config  # noqa: E402
from control.abort import Abort  # noqa: E402
from control.config import TimingFlags  # noqa: E402
from control.errors import SessionAborted, SourceError  # noqa: E402
from control.hil_build import build_source  # noqa: E402
from control.hil_source import HilSource  # noqa: E402
from control.source import Draft, Mark, Outcome  # noqa: E402
from scripts.emulators.feetech.arm import EmulatedArm  # noqa: E402
from scripts.emulators.feetech.so101 import JOINTS  # noqa: E402
from scripts.emulators.numbered_video import write_numbered_video  # noqa: E402
from transport.errors import UsageError  # noqa: E402
from transport.link import Link  # noqa: E402

pytestmark = pytest.mark.serial

# A quarter of a tick is long enough for any machine.
FPS = 2
ATTEMPTS = 3
PLUGIN = "--env.discover_packages_path=hil_scripted"
CROP, SIZE = (10, 20, 80, 100), (64, 48)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MUJOCO_GL", "disable")
    handler = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def link() -> Iterator[Link]:
    ours, theirs = Link.pair()
    for _ in range(ATTEMPTS):
        theirs.send({"guarded": True})
    yield ours
    ours.close()
    theirs.close()


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


def written(folder: Path, follower: Any, leader: Any, *, processor: Any = None, **changes: Any) -> str:
    """The flag for a configuration file with two arms and one camera; `changes` are of its `env` section."""
    video = folder / "front.mp4"
    if not video.exists():
        write_numbered_video(video, pictures=20, fps=10, width=160, height=120)
    camera = {"type": "testfile", "path": str(video), "width": 160, "height": 120, "fps": 10}
    env = {
        "type": "gym_manipulator",
        "name": "real_robot",
        "fps": FPS,
        "robot": {**device("so101_follower", follower), "cameras": {"front": camera}},
        "teleop": device("so101_leader", leader),
        "processor": {
            "gripper": {"use_gripper": True, "gripper_penalty": -0.5},
            "image_preprocessing": {"crop_params_dict": {"observation.images.front": CROP}, "resize_size": SIZE},
            "reset": {"reset_time_s": 0.0, "control_time_s": 60.0},
            **(processor or {}),
        },
    }
    path = folder / "env_config.json"
    dataset = {"repo_id": "me/pick", "task": "Pick: the cube", "num_episodes_to_record": 1}
    path.write_text(json.dumps({"env": {**env, **changes}, "dataset": dataset, "mode": "record", "device": "cpu"}))
    return f"--config_path={path}"


def device(kind: str, arm: Any) -> dict[str, str]:
    return {"type": kind, "port": arm.port, "id": arm.name, "calibration_dir": str(arm.calibration_dir)}


def built(argv: list[str], link: Link, abort: Abort | None = None) -> HilSource:
    """Connecting waits 50 ms for each answer, which an emulator on a busy machine may miss."""
    config, abort = hil_config.parse(argv), abort or Abort()
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(SourceError):
            return build_source(config, TimingFlags(), link, abort, counts_success=True, on_fault="release")
    return build_source(config, TimingFlags(), link, abort, counts_success=True, on_fault="release")


@dataclass
class Ticking:
    """A source that is ticked by hand; each frame is what its tick and the one before left in it."""

    source: HilSource

    def __post_init__(self) -> None:
        self.draft = self._draft()
        self.source.begin(self.draft)

    def tick(self) -> tuple[dict[str, Any], list[np.ndarray], Outcome]:
        draft = self.draft
        outcome = self.source.tick(draft)
        self.source.finish(draft, Mark(outcome.reward, outcome.terminated))
        self.draft = self._draft()
        self.source.stage(self.draft)
        row = {name.removeprefix("onbeat."): draft.row[name].copy() for name in draft.row.dtype.names or ()}
        return row, list(draft.pictures), outcome

    def _draft(self) -> Draft:
        schema = self.source.schema
        return Draft(np.zeros((), schema.row_dtype), [np.zeros(s.shape, s.dtype) for s in schema.pictures])


def last(arm: EmulatedArm, role: str) -> np.ndarray:
    steps = arm.history("read", "Present_Position")[-1]
    return np.array(list(driver_units.units(role, steps).values()), np.float32)


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
    arms: tuple[EmulatedArm, EmulatedArm], link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the arm moves, and when: with nobody intervening it holds its last target."""
    import torch
    from lerobot.processor import ImageCropResizeProcessorStep

    follower, leader = arms
    words = ["move", "none", "move", "success", "move", "again"]
    argv = [written(tmp_path, follower, leader, teleop={**device("scripted_leader", leader), "words": words}), PLUGIN]
    source = built(argv, link)
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


def test_a_leader_without_events_always_acts(arms: tuple[EmulatedArm, EmulatedArm], link: Link, tmp_path: Path) -> None:
    follower, leader = arms
    processor = {"image_preprocessing": None, "observation": {"add_current_to_observation": True}}
    source = built([written(tmp_path, follower, leader, processor=processor)], link)
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
    arms: tuple[EmulatedArm, EmulatedArm], link: Link, tmp_path: Path, after_s: float
) -> None:
    follower, leader = arms
    reset = {"fixed_reset_joint_positions": [5.0] * len(JOINTS), "reset_time_s": 60.0, "control_time_s": 60.0}
    abort = Abort()
    source = built([written(tmp_path, follower, leader, processor={"reset": reset})], link, abort)
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
    arms: tuple[EmulatedArm, EmulatedArm], link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    source = built(argv, link)
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


def test_the_pages_example_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/hil-serl.md").read_text(encoding="utf-8")
    path = tmp_path / "env_config.json"
    path.write_text(page.partition("```json\n")[2].partition("```")[0])
    config = hil_config.parse([f"--config_path={path}"])
    assert (config.is_simulation, config.env.teleop.type, config.env.fps) == (True, "gamepad", 10)
    assert config.max_ticks == 149


@dataclass
class Unplugged:
    """An arm that nobody needs to reach."""

    name: str
    port: str = "/dev/null"
    calibration_dir: str = "/nowhere"


KINEMATICS = {"inverse_kinematics": {"urdf_path": "so101.urdf", "target_frame_name": "gripper"}}
FOLLOWER, LEADER = Unplugged("follower"), Unplugged("leader")


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({}, ["--mode=replay"], "mode 'replay' found, expected record"),
        ({}, ["--mode=null"], "mode None found, expected record"),
        ({}, ["--env.fps=0"], "env.fps 0 found"),
        ({}, ["--env.no_such_field=1"], "no_such_field"),
        ({}, ["--env.discover_packages_path=no_such_package"], "no_such_package"),
        ({"robot": None}, [], "no env.robot found"),
        ({"teleop": None}, [], "no env.teleop found"),
        ({"name": "gym_hil"}, [], "env.robot found with env.name gym_hil"),
        ({"name": "gym_hil", "robot": None}, [], "no env.task found"),
        (
            {"name": "gym_hil", "robot": None, "task": "Reach-v0", "processor": {"gripper": {"use_gripper": False}}},
            [],
            "use_gripper: false found with gym_hil",
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_one_line(
    changes: dict[str, Any], flags: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        hil_config.parse([written(tmp_path, FOLLOWER, LEADER, **changes), *flags])
    assert "\n" not in str(caught.value)


def test_kinematics_without_their_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hil_config, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs placo, which is missing"):
        hil_config.parse([written(tmp_path, FOLLOWER, LEADER, processor=KINEMATICS)])


def test_a_simulation_without_its_package_is_refused(
    tmp_path: Path, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gym_hil", None)
    simulated = {"name": "gym_hil", "robot": None, "teleop": None, "task": "PandaPickCube-v0"}
    config = hil_config.parse([written(tmp_path, FOLLOWER, LEADER, **simulated)])
    with pytest.raises(UsageError, match=r"gym_hil is missing; run: pip install 'onbeat\[hil\]'"):
        build_source(config, TimingFlags(), link, Abort(), counts_success=True, on_fault="release")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teleop": {"type": "scripted_hil", "words": []}},
            r"type=scripted_hil found, whose action has the shape \(4,\); without env.processor.inverse_kinematics it",
        ),
        ({"name": "gym_hil", "robot": None, "task": "NoSuch-v0"}, "NoSuch-v0"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_moves(
    changes: dict[str, Any], message: str, tmp_path: Path, link: Link
) -> None:
    config = hil_config.parse([written(tmp_path, FOLLOWER, LEADER, **changes), PLUGIN])
    with pytest.raises(UsageError, match=message) as caught:
        build_source(config, TimingFlags(), link, Abort(), counts_success=True, on_fault="release")
    assert "\n" not in str(caught.value)

"""Which elements of a robot's action stand still at zero, and which at their last target."""

from __future__ import annotations

import importlib
import pkgutil
from types import SimpleNamespace
from typing import Any

import lerobot.robots
import pytest

from control.config import PolicyFlags, RecordConfig
from control.policy_hold import stopped
from control.policy_robot import RobotPilot
from transport.errors import UsageError
from transport.schema import Stream

ARM = ("shoulder_pan.pos", "gripper.pos")


def features_of(module: str, robot: str, **attributes: Any) -> tuple[str, ...]:
    """The action's names that a lerobot robot declares, without its drivers, which are not installed."""
    kind = getattr(importlib.import_module(f"lerobot.robots.{module}"), robot)
    made = kind.__new__(kind)
    vars(made).update(attributes)
    return tuple(made.action_features)


def motors(*names: str, **options: Any) -> dict[str, Any]:
    return {"bus": SimpleNamespace(motors=dict.fromkeys(names)), "config": SimpleNamespace(**options)}


JOINTS = motors("shoulder_pan", "gripper")
OPENARM = motors("joint_1", use_velocity_and_torque=True)
DRIVING = "mobile_base.vx mobile_base.vy mobile_base.vtheta"


@pytest.mark.parametrize(
    ("module", "robot", "attributes", "zero"),
    [
        ("so_follower.so_follower", "SOFollower", JOINTS, ""),
        ("koch_follower.koch_follower", "KochFollower", JOINTS, ""),
        ("omx_follower.omx_follower", "OmxFollower", JOINTS, ""),
        ("hope_jr.hope_jr_arm", "HopeJrArm", JOINTS, ""),
        ("hope_jr.hope_jr_hand", "HopeJrHand", JOINTS, ""),
        ("rebot_b601_follower.rebot_b601_follower", "RebotB601Follower", {"motor_names": ["joint_1"]}, ""),
        ("openarm_follower.openarm_follower", "OpenArmFollower", OPENARM, "joint_1.vel joint_1.torque"),
        ("lekiwi.lekiwi", "LeKiwi", {}, "x.vel y.vel theta.vel"),
        ("lekiwi.lekiwi_client", "LeKiwiClient", {}, "x.vel y.vel theta.vel"),
        (
            "earthrover_mini_plus.robot_earthrover_mini_plus",
            "EarthRoverMiniPlus",
            {},
            "linear_velocity angular_velocity",
        ),
        (
            "reachy2.robot_reachy2",
            "Reachy2Robot",
            {"config": SimpleNamespace(with_mobile_base=True), "joints_dict": dict.fromkeys(["neck_yaw.pos"])},
            DRIVING,
        ),
        ("unitree_g1.unitree_g1", "UnitreeG1", {"controller": None}, ""),
        ("unitree_g1.unitree_g1", "UnitreeG1", {"controller": object()}, "remote.lx remote.ly remote.rx remote.ry"),
    ],
)
def test_every_robot_of_lerobot_is_known(module: str, robot: str, attributes: dict[str, Any], zero: str) -> None:
    names = features_of(module, robot, **attributes)
    assert names
    assert stopped(names, {}) == set(zero.split())
    two = tuple(f"{side}_{name}" for side in ("left", "right") for name in names)
    if all("." in name and not name.startswith(("mobile_base", "remote")) for name in names):
        assert stopped(two, {}) == {f"{side}_{name}" for side in ("left", "right") for name in zero.split()}


def test_no_robot_of_lerobot_is_forgotten() -> None:
    (mark,) = (mark for mark in test_every_robot_of_lerobot_is_known.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    known = {module.partition(".")[0] for module, *_ in mark.args[1]}
    there = {found.name for found in pkgutil.iter_modules(lerobot.robots.__path__) if found.ispkg}
    assert {name for name in there if not name.startswith("bi_")} == known


def test_poses_of_lerobots_kinematics_are_positions() -> None:
    assert stopped([f"ee.{axis}" for axis in ("x", "y", "z", "wx", "wy", "wz", "gripper_pos")], {}) == set()


def test_a_torque_alone_is_not_told() -> None:
    with pytest.raises(UsageError, match=r"^joint_1.torque found"):
        stopped(["joint_1.torque", "joint_2.pos", "joint_2.torque"], {})


def test_what_a_name_does_not_tell_is_said_or_refused() -> None:
    names = (*ARM, "lift", "wheel_left", "wheel_right")
    with pytest.raises(
        UsageError, match=r"^lift, wheel_left, wheel_right found .* --policy.hold='\{lift: last\}'"
    ) as told:
        stopped(names, {})
    assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match=r"^lift found"):
        stopped(names, {"wheel_*": "zero"})
    assert stopped(names, {"wheel_*": "zero", "lift": "last"}) == {"wheel_left", "wheel_right"}
    assert stopped(ARM, {"gripper.pos": "zero"}) == {"gripper.pos"}, "what is said counts first"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"lift": "last"}, r"has lift, which none of the action's elements is: shoulder_pan.pos, gripper.pos"),
        ({"gripper.pos": "stay"}, r"has gripper.pos: stay, expected last or zero"),
    ],
)
def test_what_is_said_must_mean_something(said: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        stopped(ARM, said)


def test_a_robot_is_refused_before_its_policy_is_loaded() -> None:
    pilot = RobotPilot(RecordConfig(policy=PolicyFlags("x")), None, None, 30)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^lift found among the action's elements"):
        pilot.load([Stream("action", "float32", (1,), names=("lift",))], "elevator")

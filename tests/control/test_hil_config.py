"""HIL-SERL's configuration files: what is refused, in one line and before anything moves."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hil_arms import PLUGIN, written

from control import hil_config
from control.abort import Abort
from control.config import TimingFlags
from control.hil_build import build_source
from transport.errors import UsageError
from transport.link import Link

pytestmark = pytest.mark.usefixtures("as_before")


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
    tmp_path: Path, guarded_link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gym_hil", None)
    simulated = {"name": "gym_hil", "robot": None, "teleop": None, "task": "PandaPickCube-v0"}
    config = hil_config.parse([written(tmp_path, FOLLOWER, LEADER, **simulated)])
    with pytest.raises(UsageError, match=r"gym_hil is missing; run: pip install 'onbeat\[hil\]'"):
        build_source(config, TimingFlags(), guarded_link, Abort(), counts_success=True, on_fault="release")


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
    changes: dict[str, Any], message: str, tmp_path: Path, guarded_link: Link
) -> None:
    config = hil_config.parse([written(tmp_path, FOLLOWER, LEADER, **changes), PLUGIN])
    with pytest.raises(UsageError, match=message) as caught:
        build_source(config, TimingFlags(), guarded_link, Abort(), counts_success=True, on_fault="release")
    assert "\n" not in str(caught.value)

"""Which flags and which part of HIL-SERL's file are onbeat's, and which are lerobot's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from control import hil_flags
from transport.errors import UsageError

ENV = {"name": "gym_hil", "task": "PandaPickCubeKeyboard-v0", "fps": 10}
DATASET = {"repo_id": "me/pick", "root": None, "task": "Pick: 'it'", "num_episodes_to_record": 7, "push_to_hub": False}


def config(folder: Path, env: Any = ENV, dataset: Any = DATASET, name: str = "env_config.json") -> str:
    path = folder / name
    path.write_text(json.dumps({"env": env, "dataset": dataset, "mode": "record", "device": "cpu"}))
    return str(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"env": {"name": "gym_hil"}}', True),
        ('{"env": {"robot": {}, "teleop": {}}}', True),
        ("env: {processor: {}}", True),
        ('{"env": {"id": "onbeat/Tabletop-v0", "kwargs": {}}}', False),
        ('{"robot": {"type": "so101_follower"}}', False),
        ('{"env": "x"}', False),
        ("[]", False),
        ("{", False),
        ("\x00", False),
    ],
)
def test_a_file_is_told_by_its_env_section(tmp_path: Path, content: str, expected: bool) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    assert hil_flags.is_hil([f"--config_path={path}"]) is expected
    assert hil_flags.is_hil(["--config_path", str(path)]) is expected
    assert not hil_flags.is_hil([f"--config_path={path}.missing"])
    assert not hil_flags.is_hil(["--dataset.fps=3"])


def test_the_files_dataset_is_the_default(tmp_path: Path) -> None:
    path = config(tmp_path)
    found, theirs = hil_flags.parse([f"--config_path={path}"])
    assert (found.dataset.repo_id, found.dataset.single_task) == ("me/pick", "Pick: 'it'")
    assert (found.dataset.num_episodes, found.dataset.root, found.dataset.fps) == (7, None, None)
    assert (found.dataset.no_stamp, found.dataset.reset_time_s) == (True, 0)
    assert math.isinf(found.dataset.episode_time_s)
    assert theirs == [f"--config_path={path}"]


def test_the_file_says_whether_to_upload_unless_a_flag_does(tmp_path: Path) -> None:
    path = config(tmp_path, dataset=DATASET | {"push_to_hub": True})
    assert hil_flags.parse([f"--config_path={path}"])[0].dataset.push_to_hub
    assert not hil_flags.parse([f"--config_path={path}", "--dataset.push_to_hub=false"])[0].dataset.push_to_hub


def test_the_command_line_wins_and_lerobots_flags_go_to_lerobot(tmp_path: Path) -> None:
    path = config(tmp_path)
    found, theirs = hil_flags.parse(
        [
            *("--config_path", path, "--env.robot.port", "/dev/ttyACM0", "--mode=record", "--device=cuda"),
            *("--env.discover_packages_path=mine", "--dataset.num_episodes_to_record", "2", "--dataset.task=Push it"),
            *("--dataset.root=/data/x", "--dataset.fps=20", "--episode.number_of_steps_after_success=5"),
        ]
    )
    assert (found.dataset.num_episodes, found.dataset.single_task, found.dataset.root) == (2, "Push it", "/data/x")
    assert found.episode.number_of_steps_after_success == 5
    assert theirs == [
        f"--config_path={path}",
        *("--env.robot.port", "/dev/ttyACM0", "--mode=record", "--device=cuda", "--env.discover_packages_path=mine"),
        "--env.fps=20",
    ]


@pytest.mark.parametrize(
    ("dataset", "flags", "message"),
    [
        ({"task": "x"}, [], "no dataset.repo_id found in .*env_config.json"),
        (None, [], "no dataset section found"),
        (DATASET, ["--teleop.type=gamepad"], "--teleop.type found.* is --env.teleop.type"),
        (DATASET, ["--policy.path=/tmp/act"], "--policy.path found with HIL-SERL's configuration"),
        (DATASET, ["--dataset.no_such_flag=1"], "no_such_flag"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, dataset: Any, flags: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        hil_flags.parse([f"--config_path={config(tmp_path, dataset=dataset)}", *flags])
    assert "\n" not in str(caught.value)

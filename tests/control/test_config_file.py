"""A file of lerobot-record's in the place of flags."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from control import config_file, lerobot_flags, policy_flags
from control.lerobot_build import parse
from transport.errors import UsageError

CAMERAS = {"front": {"type": "opencv", "index_or_path": 2, "width": 640, "height": 480, "fps": 30}}
FILE = {
    "robot": {"type": "so101_follower", "port": "/dev/ttyACM0", "id": "arm", "cameras": CAMERAS},
    "teleop": {"type": "so101_leader", "port": "/dev/ttyACM1", "id": None},
    "dataset": {
        "repo_id": "me/pick",
        "single_task": 'Pick the "cube": now',
        "fps": 25,
        "root": None,
        "rgb_encoder": {"vcodec": "h264", "extra_options": {"tune": "zerolatency"}},
    },
    "policy": {"path": "me/act", "n_action_steps": 7},
    "resume": False,
    "play_sounds": True,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "record.yaml"
    path.write_text(yaml.safe_dump(FILE))
    return path


@pytest.mark.parametrize("apart", [False, True])
def test_the_file_and_the_same_flags_are_one_recording(file: Path, apart: bool) -> None:
    given = ["--config_path", f"{file}"] if apart else [f"--config_path={file}"]
    argv = config_file.expanded([*given, "--dataset.fps=50", "--robot.id=other", "--robot.on_fault=hold"])
    overrides, plugins, rest = policy_flags.split(argv)
    assert lerobot_flags.has_robot(rest)
    robot, ours = lerobot_flags.split(rest)
    config = lerobot_flags.parse(ours)
    policy_flags.complete(config, argv, overrides, plugins)

    assert (config.dataset.repo_id, config.dataset.single_task) == ("me/pick", 'Pick the "cube": now')
    assert config.dataset.fps == 50
    assert config.dataset.root is None
    assert config.dataset.rgb_encoder.vcodec == "h264"
    assert config.dataset.rgb_encoder.extra_options == {"tune": "zerolatency"}
    assert config.play_sounds is True
    assert config.robot.on_fault == "hold"
    assert (config.policy.path, config.policy.overrides) == ("me/act", ["--n_action_steps=7"])
    by_flags = parse(
        [
            "--robot.type=so101_follower",
            "--robot.port=/dev/ttyACM0",
            "--robot.id=other",
            "--robot.cameras={front: {type: opencv, index_or_path: 2, width: 640, height: 480, fps: 30}}",
            "--teleop.type=so101_leader",
            "--teleop.port=/dev/ttyACM1",
        ]
    )
    by_file = parse(robot)
    assert by_file == by_flags
    assert asdict(by_file.robot)["cameras"]["front"]["width"] == 640


def test_a_file_of_another_kind_is_left_to_others(tmp_path: Path) -> None:
    environment = tmp_path / "env.yaml"
    environment.write_text("env: {id: onbeat/Tabletop-v0}\n")
    for argv in ([f"--config_path={environment}", "--dataset.fps=50"], ["--dataset.fps=50"]):
        assert config_file.expanded(argv) == argv


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file or directory"),
        (b"robot: [", "while parsing"),
        (b"- robot", "list found in it"),
        (b"\xff", "invalid start byte"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "record.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=found) as caught:
        config_file.expanded([f"--config_path={path}", "--dataset.fps=50"])
    assert str(caught.value).startswith(f"--config_path={path} cannot be used (")
    assert "expected a YAML or JSON file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_that_lerobot_does_not_know_is_refused(file: Path) -> None:
    file.write_text(yaml.safe_dump({**FILE, "robot": {**FILE["robot"], "prot": "/dev/ttyACM0"}}))  # type: ignore[dict-item]
    robot, _ = lerobot_flags.split(config_file.expanded([f"--config_path={file}"]))
    with pytest.raises(UsageError, match="prot"):
        parse(robot)

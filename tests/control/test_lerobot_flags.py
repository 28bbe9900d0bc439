"""lerobot-record's command line: every flag of it parses, and what becomes of each."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from lerobot.configs.dataset import DatasetRecordConfig
from lerobot.scripts.lerobot_record import RecordConfig as StockConfig

from control.build import build_robot
from control.lerobot_flags import has_robot, parse, split, without_own
from transport.errors import UsageError
from transport.link import Link

NAME = "--dataset.repo_id=me/pick"
VALUES: dict[str, Any] = {
    "dataset.repo_id": "me/pick",
    "dataset.single_task": "Pick the cube",
    "dataset.root": "somewhere",
    "dataset.push_to_hub": "false",
    "dataset.private": "true",
    "dataset.tags": "[so101, pick]",
    "dataset.encoder_threads": 2,
    "display_ip": "192.0.2.1",
    "display_port": 9876,
}


def stock_flags() -> list[str]:
    """Each flag of lerobot-record but the devices', with its default or a value that it takes."""
    found: dict[str, Any] = {}

    def collect(config: Any, prefix: str) -> None:
        for each in dataclasses.fields(config):
            value, name = getattr(config, each.name), f"{prefix}{each.name}"
            if dataclasses.is_dataclass(value):
                collect(value, f"{name}.")
            else:
                found[name] = VALUES.get(name, str(value).lower() if isinstance(value, bool) else value)

    collect(DatasetRecordConfig(repo_id="me/pick"), "dataset.")
    for each in dataclasses.fields(StockConfig):
        if each.name not in ("robot", "dataset", "teleop"):
            found[each.name] = VALUES.get(each.name, str(each.default).lower())
    return [f"--{name}={value}" for name, value in found.items() if value is not None]


@pytest.mark.parametrize("flag", stock_flags())
def test_every_flag_of_lerobot_record_parses(flag: str) -> None:
    parse([NAME, flag])


def test_flags_without_a_meaning_are_named_once_and_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    config = parse([NAME, "--dataset.num_image_writer_processes=0", "--dataset.depth_encoder.depth_max=3"])
    assert config.dataset.depth_encoder.depth_max == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" is ignored: ")[0] for line in lines] == ["--dataset.num_image_writer_processes"]
    parse([NAME, "--dataset.fps=30", "--dataset.video=true", "--play_sounds=false", "--display_data=false"])
    assert capsys.readouterr().out == ""


def test_defaults_are_lerobot_records_but_for_the_upload() -> None:
    ours, stock = parse([NAME]).dataset, DatasetRecordConfig(repo_id="me/pick")
    for name in ("single_task", "root", "fps", "episode_time_s", "reset_time_s", "num_episodes", "no_stamp"):
        assert getattr(ours, name) == getattr(stock, name), name
    assert stock.push_to_hub
    assert not ours.push_to_hub


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no --dataset.repo_id"),
        ([NAME, "--dataset.video=false"], "video"),
        ([NAME, "--dataset.no_such_flag=1"], "no_such_flag"),
    ],
)
def test_what_cannot_be_is_refused(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(argv)


@pytest.mark.parametrize(
    ("argv", "robot", "rest"),
    [
        (
            ["--robot.type=a", "--resume=true", "--teleop.port=b"],
            ["--robot.type=a", "--teleop.port=b"],
            ["--resume=true"],
        ),
        (["--robot.type", "a", "--dataset.fps", "5"], ["--robot.type", "a"], ["--dataset.fps", "5"]),
        (["--robot.discover_packages_path=p", "--x=--robot"], ["--robot.discover_packages_path=p"], ["--x=--robot"]),
        (["--robot=file.yaml"], ["--robot=file.yaml"], []),
    ],
)
def test_the_robots_flags_are_told_apart(argv: list[str], robot: list[str], rest: list[str]) -> None:
    assert has_robot(argv)
    assert split(argv) == (robot, rest)


def test_without_a_robot_nothing_changes() -> None:
    assert not has_robot(["--env.id=robot.v0", "--teleop.type=scripted", "robot.type=a"])


def test_a_robot_and_an_environment_are_one_too_many() -> None:
    with pytest.raises(UsageError, match=r"--env.id and --robot.\* found together"):
        split(["--robot.type=a", "--env.id=b"])


def test_without_lerobot_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "control.lerobot_build", None)
    ours, theirs = Link.pair()
    try:
        with pytest.raises(UsageError, match=r"pip install 'onbeat\[lerobot,arms\]'"):
            build_robot(parse([NAME]), ["--robot.type=a"], ours)
    finally:
        ours.close()
        theirs.close()


REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs/real-arm.md"


def test_the_documented_robots_are_lerobots() -> None:
    from control import lerobot_build

    documented = re.findall(r"`(--robot\.type=[^`]+)`", DOCS.read_text())
    kinds = []
    for line in documented:
        parsed = lerobot_build.parse(shlex.split(line))
        assert parsed.teleop is not None
        kinds.append(parsed.robot.type)
    assert {"so100_follower", "koch_follower", "bi_so_follower", "lekiwi_client"} <= set(kinds)


@pytest.mark.parametrize("page", ["README.md", "docs/real-arm.md"])
def test_the_documented_commands_with_an_arm_parse(page: str) -> None:
    from control import lerobot_build

    text = (REPOSITORY / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "onbeat record " in line and "--robot.type" in line]
    assert lines
    for line in lines:
        devices, ours = split(shlex.split(line.partition("onbeat record ")[2]))
        assert lerobot_build.parse(devices).teleop is not None
        parse(ours)


def test_a_line_of_record_serves_the_doctor_too() -> None:
    line = ["--robot.type=x", "--robot.on_fault", "hold", "--teleop.proxy=true", "--fps=60", "--seconds", "2"]
    theirs, ours = split(line)
    assert theirs == ["--robot.type=x"]
    assert without_own(ours) == ["--fps=60", "--seconds", "2"]

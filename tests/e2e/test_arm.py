"""`onbeat record` on emulated SO-101 arms and `testfile` cameras, beside stock lerobot-record with the same flags."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arm_session
import numpy as np
import outcome
import pyarrow.parquet
import pytest
import stock_arm
from lerobot.datasets import LeRobotDataset, aggregate_datasets

from scripts.emulators.feetech.history import Access
from scripts.emulators.feetech.so101 import JOINTS
from scripts.emulators.rig import Rig

pytestmark = [pytest.mark.acceptance, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(500)]

FPS, WIDTH, HEIGHT = 60, 640, 480
EPISODES, EPISODE_S = 2, 1.0
FRAMES = round(EPISODE_S * FPS)


@dataclass(frozen=True)
class Recorded:
    """Two datasets of the same flags, and what the emulated arms saw of onbeat's."""

    rig: Rig
    flags: list[str]
    ours: Path
    stock: Path
    output: str
    leader_reads: list[Access]
    follower_reads: list[Access]
    goals: list[Access]


def record_stock(rig: Rig, flags: list[str], root: Path, *more: str) -> None:
    """As `record_ours`, with lerobot-record; `root` is begun, or with --resume=true gone on with."""
    spare = root.with_name(f"{root.name}.before")
    if root.exists():
        shutil.copytree(root, spare)
    for _ in range(arm_session.ATTEMPTS):
        shutil.rmtree(root, ignore_errors=True)
        if spare.exists():
            shutil.copytree(spare, root)
        if stock_arm.run_stock("lerobot-record", rig.folder, [*flags, f"--dataset.root={root}", *more]):
            return
    raise AssertionError("the machine stood still each time")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    home = tmp_path_factory.mktemp("arm")
    ours, stock = home / "ours", home / "stock"
    with arm_session.short_rig(fps=FPS, width=WIDTH, height=HEIGHT) as rig:
        flags = arm_session.dataset_flags(rig, num_episodes=EPISODES, episode_time_s=EPISODE_S)
        since = dict.fromkeys((rig.follower, rig.leader), 0)

        def mark() -> None:
            since.update({arm: arm.next_number() for arm in since})

        process = arm_session.record_ours(flags, ours, home, before=mark)
        assert set(rig.follower.torque().values()) == {0}
        leader_reads = rig.leader.accesses("read", "Present_Position", since[rig.leader])
        follower_reads = rig.follower.accesses("read", "Present_Position", since[rig.follower])
        goals = rig.follower.accesses("write", "Goal_Position", since[rig.follower])
        record_stock(rig, flags, stock)
        yield Recorded(rig, flags, ours, stock, process.output, leader_reads, follower_reads, goals)


def form(root: Path) -> dict[str, Any]:
    """Everything in info.json that does not depend on how much was recorded."""
    return {name: value for name, value in outcome.info(root).items() if not name.startswith(("total_", "splits"))}


def telemetry(root: Path) -> dict[str, np.ndarray]:
    parts = [outcome.telemetry(root, episode) for episode in range(EPISODES)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_dataset_has_stocks_form_and_merges_with_it(recorded: Recorded, tmp_path: Path) -> None:
    found, expected = form(recorded.ours), form(recorded.stock)
    assert found == expected
    assert list(found["features"]) == list(expected["features"])
    assert (found["robot_type"], found["fps"]) == ("so_follower", FPS)
    assert found["features"]["action"]["names"] == [f"{joint}.pos" for joint in JOINTS]
    schemas = [
        pyarrow.parquet.read_schema(root / "data/chunk-000/file-000.parquet")
        for root in (recorded.ours, recorded.stock)
    ]
    assert schemas[0] == schemas[1]
    infos = [json.loads(schema.metadata[b"huggingface"])["info"] for schema in schemas]
    assert infos[0] == infos[1]
    assert "--dataset.streaming_encoding is ignored" in recorded.output

    frames = sum(len(outcome.rows(root)["action"]) for root in (recorded.ours, recorded.stock))
    for name, roots in (("first", (recorded.ours, recorded.stock)), ("second", (recorded.stock, recorded.ours))):
        merged = tmp_path / name
        aggregate_datasets(["me/pick"] * 2, "me/both", roots=list(roots), aggr_root=merged)
        assert_loads(merged, 2 * EPISODES, frames)


def test_nothing_is_lost_and_goals_are_what_the_leader_said_in_the_same_tick(recorded: Recorded) -> None:
    ours, rig = recorded.ours, recorded.rig
    told, data = telemetry(ours), outcome.rows(ours)
    actions = data["action"].astype(np.float32)
    assert len(actions) == EPISODES * FRAMES
    assert np.ptp(actions, axis=0).min() > 1
    heard, said = ~told["teleop_read_failed"].ravel(), ~told["send_failed"].ravel()
    assert heard.mean() > 0.5

    # Of the log of the arms, not of onbeat: the leader's answer between a tick's beginning and its action.
    times = np.array([read.time_ns for read in recorded.leader_reads])
    positions = stock_arm.rows("leader", [read.values for read in recorded.leader_reads])
    for index in np.flatnonzero(heard):
        observed_ns, sent_ns = told["observed_ns"].ravel()[index], told["action_sent_ns"].ravel()[index]
        in_tick = positions[(observed_ns <= times) & (times <= sent_ns)]
        assert any(np.array_equal(actions[index], position) for position in in_tick)
    stock_arm.assert_goals([goal.values for goal in recorded.goals], actions[said])
    assert (np.array([goal.time_ns for goal in recorded.goals]) >= told["action_sent_ns"].ravel()[said]).all()
    np.testing.assert_array_equal(told["sent_action"][said], actions[said])
    states = data["observation.state"].astype(np.float32)[~told["robot_read_failed"].ravel()]
    assert stock_arm.is_subsequence(
        states, stock_arm.rows("follower", [read.values for read in recorded.follower_reads])
    )
    outcome.assert_whole(ours, episodes=EPISODES, numbered=False)
    for episode in range(EPISODES):
        outcome.assert_no_slot_lost(ours, episode, FPS)
        for camera in rig.cameras:
            arm_session.assert_same_pictures(rig, ours, camera, episode)


def test_each_goes_on_with_what_the_other_began(recorded: Recorded, tmp_path: Path) -> None:
    rig, more = recorded.rig, ["--resume=true", "--dataset.num_episodes=1"]
    by_stock, by_ours = tmp_path / "by_stock", tmp_path / "by_ours"
    shutil.copytree(recorded.ours, by_stock)
    shutil.copytree(recorded.stock, by_ours)
    once = [flag for flag in recorded.flags if not flag.startswith("--dataset.num_episodes")]
    record_stock(rig, once, by_stock, *more)
    arm_session.record_ours([*once, *more], by_ours, tmp_path)
    for root, began in ((by_stock, recorded.ours), (by_ours, recorded.stock)):
        assert form(root) == form(began)
        data = outcome.rows(root)
        assert_loads(root, EPISODES + 1, len(data["action"]))
        before = outcome.rows(began)
        for name, values in before.items():
            np.testing.assert_array_equal(data[name][: len(values)], values)
    assert (outcome.rows(by_ours)["episode_index"] == EPISODES).sum() == FRAMES


def test_stock_replay_moves_the_follower_as_recorded(recorded: Recorded, tmp_path: Path) -> None:
    rig, episode = recorded.rig, 1
    flags = [*rig.robot_flags, "--dataset.repo_id=me/pick", f"--dataset.root={recorded.ours}", "--play_sounds=false"]
    for _ in range(arm_session.ATTEMPTS):
        since = rig.follower.next_number()
        if stock_arm.run_stock("lerobot-replay", tmp_path, [*flags, f"--dataset.episode={episode}"]):
            break
    data = outcome.rows(recorded.ours)
    actions = data["action"][data["episode_index"] == episode].astype(np.float32)
    stock_arm.assert_goals(rig.follower.history("write", "Goal_Position", since), actions)
    assert set(rig.follower.torque().values()) == {0}


def assert_loads(root: Path, episodes: int, frames: int) -> None:
    """Stock opens it, and the first and last frame of each episode decode."""
    dataset = LeRobotDataset("me/pick", root=root, video_backend="pyav")
    assert (dataset.num_episodes, dataset.num_frames) == (episodes, frames)
    for episode in range(episodes):
        row = dataset.meta.episodes[episode]
        for index in (row["dataset_from_index"], row["dataset_to_index"] - 1):
            item = dataset[index]
            assert int(item["episode_index"]) == episode
            assert item["observation.images.front"].shape == (3, HEIGHT, WIDTH)

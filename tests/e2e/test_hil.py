"""`onbeat record` with HIL-SERL's configuration, beside lerobot's own gym_manipulator with the same file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onbeat_process as run
import outcome
import pytest

FPS = 10
PENALTY = -0.5
ACTION = {"dtype": "float32", "shape": [4], "names": ["delta_x", "delta_y", "delta_z", "gripper"]}
STAY = [0.0, 0.0, 0.0, 1.0]
MOVE = [0.5, -0.25, 0.125, 2.0]
LIMIT_S = 300
PROGRAM = "lerobot.rl.gym_manipulator"
PLUGIN = "--env.discover_packages_path=hil_scripted"


def written(folder: Path, task: str, fps: int = FPS) -> Path:
    processor = {
        "control_mode": "gamepad",
        "gripper": {"use_gripper": True, "gripper_penalty": PENALTY},
        "reset": {"control_time_s": 30.0, "terminate_on_success": True},
    }
    config = {
        "env": {"name": "gym_hil", "task": task, "fps": fps, "robot": None, "teleop": None, "processor": processor},
        "dataset": {"repo_id": "me/pick", "root": None, "task": "Pick: the cube", "num_episodes_to_record": 2},
        "mode": "record",
        "device": "cpu",
    }
    path = folder / "env_config.json"
    path.write_text(json.dumps(config))
    return path


def environment(words: Sequence[str], renderer: str = "disable") -> dict[str, str]:
    found = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(found), "MUJOCO_GL": renderer, "HIL_SCRIPTED_WORDS": json.dumps(words)}


def record(home: Path, config: Path, root: Path, words: Sequence[str], *flags: str, renderer: str = "disable") -> str:
    command = [run.ONBEAT, "record", f"--config_path={config}", PLUGIN, f"--dataset.root={root}", *flags]
    with run.OnbeatProcess(command, home, environment=environment(words, renderer)) as process:
        code = process.finish(LIMIT_S)
        assert code == 0, process.output
        return process.output


def run_stock(
    home: Path, config: Path, root: Path, words: Sequence[str], *flags: str, renderer: str = "disable"
) -> None:
    found = subprocess.run(
        [sys.executable, "-m", PROGRAM, f"--config_path={config}", PLUGIN, f"--dataset.root={root}", *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_OFFLINE": "1", **environment(words, renderer)},
        timeout=LIMIT_S,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-5000:]


def float_rows(root: Path, *names: str) -> dict[str, np.ndarray]:
    data = outcome.rows(root)
    return {name: data[name].astype(np.float32) for name in names or data}


@pytest.mark.timeout(400)
def test_rows_and_columns_are_stocks(tmp_path: Path) -> None:
    """Intervention, penalty, reward and end are lerobot's; the re-record and the padding are what it has not."""
    from lerobot.datasets import LeRobotDataset, aggregate_datasets

    first = ["none", "move", "none", "success"]
    second = ["move", "fail"]
    config = written(tmp_path, "Reach-v0")
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    words = ["none", "move", "again", *first, "none", "none", *second]
    output = record(tmp_path, config, ours, words, "--episode.number_of_steps_after_success=3")
    run_stock(tmp_path, config, stock, [*first, *second])

    found, expected = outcome.info(ours), outcome.info(stock)
    assert found["features"] == expected["features"]
    assert list(found["features"]) == list(expected["features"])
    assert found["features"]["action"] == ACTION
    assert {name: found[name] for name in ("fps", "robot_type")} == {"fps": FPS, "robot_type": None}

    assert "take 0: discarded, 3 frames" in output
    assert "take 1: committed as episode 0 of the dataset, 6 frames" in output
    data, theirs = float_rows(ours), float_rows(stock)
    padding = [4, 5]
    assert data["next.reward"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert data["next.done"].tolist() == [0, 0, 0, 0, 0, 1, 0, 1]
    assert theirs["next.done"].tolist() == [0, 0, 0, 1, 0, 1]
    for name in ("action", "observation.state", "next.reward", "complementary_info.discrete_penalty", "timestamp"):
        np.testing.assert_array_equal(np.delete(data[name], padding, axis=0), theirs[name], err_msg=name)
    # An intervention stays in the action for one more step: lerobot hands it on.
    assert data["action"].tolist() == [STAY, MOVE, MOVE, *[STAY] * 3, MOVE, MOVE]
    flags = [outcome.telemetry(ours, episode)["is_intervention"].ravel().tolist() for episode in (0, 1)]
    assert flags == [[False, True, False, False, False, False], [True, False]]

    for episode, length in ((0, 6), (1, 2)):
        pictures = outcome.decode(ours / f"videos/observation.images.front/chunk-000/file-{episode:03d}.mp4")
        assert [round(picture.mean() / 8) for picture in pictures] == [*range(length)]
    outcome.assert_whole(ours, episodes=2, numbered=False)
    aggregate_datasets(["me/pick", "me/pick"], "me/both", roots=[ours, stock], aggr_root=tmp_path / "both")
    both = LeRobotDataset("me/both", root=tmp_path / "both", video_backend="pyav")
    assert (both.num_episodes, both.num_frames) == (4, 14)
    assert both[0]["task"] == "Pick: the cube"


def renderer() -> str:
    """What MuJoCo can draw with on this machine; skips the test where it is nothing."""
    said = []
    for name in ("osmesa", "egl"):
        drawn = subprocess.run(
            [sys.executable, "-c", "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"],
            env={**os.environ, "MUJOCO_GL": name},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if drawn.returncode == 0:
            return name
        said.append(f"{name}: {drawn.stderr.strip().splitlines()[-1]}")
    pytest.skip(f"MuJoCo draws nothing here ({'; '.join(said)}); docs/hil-serl.md says what is missing")


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_pick_cube_with_an_intervention_a_rerecord_and_padding(tmp_path: Path) -> None:
    from lerobot.datasets import LeRobotDataset

    fps, drawn_by = 1, renderer()
    config = written(tmp_path, "PandaPickCubeBase-v0", fps)
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    words = ["move", "again", "none", "move", "success", "none", "none", "fail"]
    teleop = ["--env.teleop.type=scripted_hil", f"--env.teleop.words={json.dumps(words)}"]
    # A picture takes software a second and more: the ring's seconds would be few frames.
    patience = ["--publisher.ring_s=60", "--timing.max_tick_s=60"]
    flags = [*teleop, "--episode.number_of_steps_after_success=3", *patience]
    output = record(tmp_path, config, ours, [], *flags, renderer=drawn_by)
    # lerobot makes no bare environment; this is the same one, wrapped by gym_hil as ours is. Two steps end it.
    run_stock(
        tmp_path,
        config,
        stock,
        [],
        "--env.task=PandaPickCube-v0",
        "--env.processor.reset.control_time_s=3",
        "--dataset.num_episodes_to_record=1",
        renderer=drawn_by,
    )

    found, expected = outcome.info(ours), outcome.info(stock)
    assert found["features"] == expected["features"]
    assert list(found["features"]) == list(expected["features"])
    assert found["features"]["observation.images.wrist"]["shape"] == [3, 128, 128]

    assert "take 0: discarded, 2 frames" in output
    assert "take 1: committed as episode 0 of the dataset, 5 frames" in output
    assert "take 2: committed as episode 1 of the dataset, 1 frames" in output
    data, theirs = float_rows(ours), float_rows(stock)
    assert data["action"].tolist() == [STAY, MOVE, *[STAY] * 4]
    assert data["next.reward"].tolist() == [0, 0, 1, 1, 1, 0]
    assert data["next.done"].tolist() == [0, 0, 0, 0, 1, 1]
    assert outcome.telemetry(ours, 0)["is_intervention"].ravel().tolist() == [False, True, False, False, False]
    # Of a gripper that is opened: the simulation begins with it closed.
    assert data["complementary_info.discrete_penalty"].tolist()[:2] == [0, np.float32(PENALTY)]
    # Both begin at rest in the same place; the arm moved with the intervention.
    np.testing.assert_array_equal(data["observation.state"][:2], theirs["observation.state"][:2])
    assert np.abs(data["observation.state"][2, -3:] - data["observation.state"][1, -3:]).max() > 1e-3
    outcome.assert_whole(ours, episodes=2, numbered=False)
    dataset = LeRobotDataset("me/pick", root=ours, video_backend="pyav")
    pictures = [dataset[0][f"observation.images.{name}"] for name in ("front", "wrist")]
    assert all(picture.shape == (3, 128, 128) and picture.std() > 0.05 for picture in pictures)

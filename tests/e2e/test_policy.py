"""A policy trained by stock lerobot-train drives a recording through `--policy.path`, slower than the loop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onbeat_process as run
import outcome
import pytest
from numpy.typing import NDArray

from control.envs import register

FPS = 10
DELAY = 5
CHUNK = 8
SEED = 3
ENV = {"cameras": 1, "width": 96, "height": 96}
FLAGS = (
    f"--env.kwargs={json.dumps(ENV)}",
    f"--env.seed={SEED}",
    f"--dataset.fps={FPS}",
    "--dataset.rgb_encoder.vcodec=h264",
    "--dataset.repo_id=me/pick",
    "--dataset.no_stamp=true",
)


def train(dataset: Path, home: Path) -> Path:
    """Two steps of ACT; returns the folder that `--policy.path` takes."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("lerobot-train")),
            "--dataset.repo_id=me/pick",
            f"--dataset.root={dataset}",
            "--dataset.video_backend=pyav",
            "--policy.type=act",
            "--policy.device=cpu",
            "--policy.push_to_hub=false",
            "--policy.pretrained_backbone_weights=null",
            "--policy.dim_model=32",
            "--policy.n_heads=2",
            "--policy.dim_feedforward=32",
            f"--policy.chunk_size={CHUNK}",
            f"--policy.n_action_steps={CHUNK}",
            "--steps=2",
            "--batch_size=2",
            "--num_workers=0",
            "--save_freq=2",
            "--wandb.enable=false",
            f"--output_dir={home / 'out'}",
        ],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "2",
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return home / "out/checkpoints/000002/pretrained_model"


def slowed(trained: Path) -> Path:
    """The same weights for `slow_act`, the plugin beside this file."""
    slow = Path(shutil.copytree(trained, trained.parent / "slow"))
    config = json.loads((slow / "config.json").read_text())
    (slow / "config.json").write_text(json.dumps({**config, "type": "slow_act"}))
    return slow


def stock_actions(trained: Path, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """What lerobot's own `select_action` gives, one after the other, from its queue."""
    import torch
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies import get_policy_class, make_pre_post_processors
    from lerobot.policies.utils import prepare_observation_for_inference

    config = PreTrainedConfig.from_pretrained(trained)
    policy = get_policy_class(config.type).from_pretrained(trained, config=config)
    before, after = make_pre_post_processors(policy_cfg=config, pretrained_path=str(trained))
    policy.reset()
    actions = []
    for _ in range(CHUNK):
        batch = before(prepare_observation_for_inference(dict(observation), torch.device("cpu"), "", None))
        actions.append(after(policy.select_action(batch)).squeeze(0).numpy())
    return np.stack(actions)


def replayed(actions: NDArray[np.float32]) -> list[dict[str, NDArray[Any]]]:
    """The observations before each of these actions, pixel by pixel as they were."""
    register()
    env = gymnasium.make("onbeat/Tabletop-v0", **ENV)
    observation, _ = env.reset(seed=SEED)
    found = []
    for action in actions:
        found.append({key: np.array(value) for key, value in observation.items()})
        observation, *_ = env.step(action)
    env.close()
    return found


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_trained_policy_drives_the_next_recording_while_it_is_slow(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    length = "--dataset.episode_time_s=1.5"
    with run.record(first, tmp_path, *FLAGS, length, "--dataset.num_episodes=1", quick=False) as process:
        assert process.finish() == 0, process.output
    trained = train(first, tmp_path)
    with run.OnbeatProcess(
        [
            run.ONBEAT,
            "record",
            f"--dataset.root={second}",
            *FLAGS,
            "--dataset.num_episodes=2",
            "--dataset.episode_time_s=4",
            f"--policy.path={slowed(trained)}",
            "--policy.discover_packages_path=slow_act",
            f"--policy.inference_s={DELAY / FPS}",
            "--policy.device=cpu",
            "--policy.max_held_s=1",
        ],
        tmp_path,
        # One thread: what an inference takes shall not depend on who else works on the machine.
        environment={"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
    ) as process:
        process.wait_for(r"state: recording  episode: 2 of 2 .* frames: ([1-9]|\d\d)", 120)
        os.kill(process.pid_of("control.policy_process"), signal.SIGKILL)
        assert process.finish() == 1, process.output
    process.wait_for("the policy's process ended with code -9; holding, the episode is aborted after 1 s", 0)
    process.wait_for("nothing to do for 10 frames in a row", 0)

    # The grid holds, and the columns are those of a recording without a policy.
    expected, found = outcome.info(first), outcome.info(second)
    assert found["features"] == expected["features"]
    assert found["total_episodes"] == 1
    outcome.assert_no_slot_lost(second, 0, FPS)
    told, data = outcome.telemetry(second, 0), outcome.rows(second)
    assert data["frame_index"].tolist() == list(range(4 * FPS))
    assert told["missed_slots"].sum() == 0

    acted, observed = told["policy.acted"], told["policy.observed_frame"]
    assert_held_as_predicted(acted, observed)
    process.wait_for(rf"policy: of {4 * FPS} frames {int((acted == 0).sum())} held because no action was ready", 0)

    # A held frame moves nothing: the tabletop's actions are deltas with a neutral one.
    actions = data["action"].astype(np.float32)
    assert (actions[acted == 0] == 0).all()
    observations = replayed(actions)
    np.testing.assert_array_equal(
        data["observation.state"].astype(np.float32), [each["observation.state"] for each in observations]
    )
    # Row i of an answer is what stock lerobot gives i ticks after the same observation.
    for frame in sorted(set(observed[acted == 1].tolist())):
        used = np.flatnonzero(observed == frame)
        stock = stock_actions(trained, observations[frame])
        np.testing.assert_allclose(actions[used], stock[used - frame], atol=1e-5)
    assert np.ptp(actions[acted == 1], axis=0).max() > 1e-3


def assert_held_as_predicted(acted: NDArray[Any], observed: NDArray[Any]) -> None:
    """Every frame is held that lies behind the end of one answer and before the next came, and no other."""
    answers = sorted(set(observed[acted == 1].tolist()))
    came = [int(np.flatnonzero(observed == answer)[0]) for answer in answers]
    predicted = np.zeros(len(acted), int)
    for answer, start, end in zip(answers, came, [*came[1:], len(acted)], strict=True):
        predicted[start : min(answer + CHUNK, end)] = 1
    assert acted.tolist() == predicted.tolist()
    # The first is waited for; from then on an inference takes five ticks, or six where the machine had no time.
    delays = np.subtract(came, answers)
    assert delays[0] == 0
    assert set(delays[1:].tolist()) <= {DELAY, DELAY + 1}, delays
    if set(delays[1:].tolist()) == {DELAY}:
        cycle = [1] * (CHUNK - DELAY) + [0] * (2 * DELAY - CHUNK)
        expected = [1] * CHUNK + cycle * len(acted)
        assert acted.tolist() == expected[: len(acted)]

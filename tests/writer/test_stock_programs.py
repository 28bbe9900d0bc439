"""Stock lerobot's own programs on a committed dataset, as a user runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import stock

from writer import verify
from writer.commit import Committer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("programs")
    of = stock.schema(2, height=96, width=96)
    committer = Committer(base / "ds", base / "ds.onbeat", stock.SPEC, of)
    for i, frames in enumerate([9, 12, 6]):
        episode = stock.make_episode(frames, of=of, episode_id=i)
        committer.commit(episode, stock.video_writer(episode))
    return base / "ds"


def run(program: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_HOME": str(home),
        "HF_LEROBOT_HOME": str(home / "lerobot"),
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done


@pytest.mark.slow
@pytest.mark.timeout(260)
def test_lerobot_train(dataset: Path, tmp_path: Path) -> None:
    run(
        "lerobot-train",
        f"--dataset.repo_id={stock.SPEC.repo_id}",
        f"--dataset.root={dataset}",
        "--dataset.video_backend=pyav",
        "--policy.type=act",
        "--policy.device=cpu",
        "--policy.push_to_hub=false",
        "--policy.pretrained_backbone_weights=null",
        "--policy.dim_model=32",
        "--policy.n_heads=2",
        "--policy.dim_feedforward=32",
        "--policy.chunk_size=4",
        "--policy.n_action_steps=4",
        "--steps=2",
        "--batch_size=2",
        "--num_workers=0",
        "--log_freq=1",
        "--save_freq=2",
        "--wandb.enable=false",
        f"--output_dir={tmp_path / 'out'}",
        home=tmp_path,
    )
    assert list((tmp_path / "out").rglob("model.safetensors"))


@pytest.mark.slow
@pytest.mark.timeout(260)
def test_lerobot_edit_dataset(dataset: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(dataset, tmp_path / "ds"))
    edited = tmp_path / "edited"
    run(
        "lerobot-edit-dataset",
        f"--repo_id={stock.SPEC.repo_id}",
        f"--root={root}",
        "--new_repo_id=test/edited",
        f"--new_root={edited}",
        "--operation.type=delete_episodes",
        "--operation.episode_indices=[1]",
        home=tmp_path,
    )
    stock.assert_decodes(edited, 2, 15)
    assert verify.verify(edited).good

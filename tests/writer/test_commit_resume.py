"""Appending to datasets that are there already, and what appending costs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import stock
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from writer.commit import Committer
from writer.errors import DatasetMismatchError

RESUME = replace(stock.SPEC, resume=True)


def committer(root: Path, spec: object = RESUME) -> Committer:
    return Committer(root, root.with_name(root.name + ".onbeat"), spec, stock.schema())


def append(root: Path, frames: int, episode_id: int, task: str = "lift the cube") -> int:
    episode = stock.make_episode(frames, episode_id=episode_id, session_id="e" * 32, spec=RESUME, task=task)
    return committer(root).commit(episode, stock.video_writer(episode)).episode_index


def test_resume_of_a_stock_dataset_with_several_episodes_in_a_file(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    stock.create_stock(root, [stock.make_episode(n, episode_id=i) for i, n in enumerate([4, 1, 3])])
    assert len(list((root / "data").glob("*/*.parquet"))) == 1
    assert append(root, 2, 0) == 3
    assert append(root, 5, 1, "another task") == 4
    dataset = stock.assert_decodes(root, 5, 15)
    assert sorted(p.name for p in (root / "data/chunk-000").iterdir()) == [f"file-{i:03d}.parquet" for i in range(3)]
    assert (dataset[14]["task"], int(dataset[14]["episode_index"])) == ("another task", 4)


def test_resume_of_our_own_dataset_in_a_new_session(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    episode = stock.make_episode(3)
    committer(root, stock.SPEC).commit(episode, stock.video_writer(episode))
    assert append(root, 2, 0) == 1
    stock.assert_decodes(root, 2, 5)


def test_taking_turns_with_stock(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    append_first = stock.make_episode(3)
    committer(root, stock.SPEC).commit(append_first, stock.video_writer(append_first))
    dataset = LeRobotDataset.resume(stock.SPEC.repo_id, root=root)
    stock.add_to(dataset, stock.make_episode(5, episode_id=2))
    stock.add_to(dataset, stock.make_episode(1, episode_id=3))
    dataset.finalize()
    assert append(root, 4, 0) == 3
    stock.assert_decodes(root, 4, 13)


def test_resume_of_a_dataset_without_episodes(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    LeRobotDataset.create(
        stock.SPEC.repo_id, stock.FPS, stock.schema().features(), root=root, robot_type="tabletop"
    ).finalize()
    assert append(root, 3, 0) == 0
    assert append(root, 2, 1) == 1
    stock.assert_decodes(root, 2, 5)


def test_files_go_on_in_the_next_chunk_when_one_is_full(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    append_first = stock.make_episode(1)
    c = committer(root, stock.SPEC)
    c.commit(append_first, stock.video_writer(append_first))
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "chunks_size": 2}))
    for i in range(1, 4):
        episode = stock.make_episode(1, episode_id=i)
        c.commit(episode, stock.video_writer(episode))
    names = sorted(str(p.relative_to(root / "data")) for p in (root / "data").glob("*/*"))
    assert names == [f"chunk-{chunk:03d}/file-{file:03d}.parquet" for chunk in (0, 1) for file in (0, 1)]
    stock.assert_decodes(root, 4, 4)


def test_a_dataset_that_somebody_else_appends_to_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    first, second = stock.make_episode(3), stock.make_episode(2, episode_id=1)
    c = committer(root, stock.SPEC)
    c.commit(first, stock.video_writer(first))
    dataset = LeRobotDataset.resume(stock.SPEC.repo_id, root=root)
    stock.add_to(dataset, stock.make_episode(5, episode_id=2))
    dataset.finalize()
    with pytest.raises(DatasetMismatchError, match="has 2 episodes, expected 1"):
        c.commit(second, stock.video_writer(second))
    stock.assert_decodes(root, 2, 8)


COUNTING = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import stock
from writer.commit import Committer


def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


root = Path(sys.argv[2]) / "ds"
costs = []
for session in "ab":
    # The second session resumes: opening an existing dataset must leave nothing behind either.
    spec = stock.SPEC if session == "a" else stock.replace(stock.SPEC, resume=True)
    committer = Committer(root, root.with_name("ds.onbeat"), spec, stock.schema(1))
    for i in range(20):
        episode = stock.make_episode(2, of=stock.schema(1), spec=spec, episode_id=i, session_id=session * 32)
        before = bytes_read()
        committer.commit(episode, stock.video_writer(episode))
        costs.append(bytes_read() - before)
print(costs[3], costs[-1])
"""


def test_a_commit_reads_no_more_with_more_episodes_and_leaves_no_cache(tmp_path: Path) -> None:
    """In a process of its own, whose caches and temporary files all go to one folder."""
    scratch, home = tmp_path / "scratch", tmp_path / "home"
    scratch.mkdir()
    home.mkdir()
    caches = {name: str(scratch / name) for name in ("HF_HOME", "HF_DATASETS_CACHE", "HF_LEROBOT_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(Path(stock.__file__).parent), str(tmp_path)],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(scratch),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HF_HUB_OFFLINE": "1",
            **caches,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    early, late = map(int, done.stdout.split())
    assert late < 1.3 * early
    left = [p for p in scratch.rglob("*") if p.is_file() or p.name.startswith(("hf_datasets", "parquet", "default-"))]
    assert left == []
    assert len(list((tmp_path / "ds/data").glob("*/*.parquet"))) == 40

"""What stock lerobot leaves when it is killed, really killed, and what can be had back of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import stock

from writer import recover_cli
from writer.verify import verify

_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import stock
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root = Path(sys.argv[1])
if root.exists():
    dataset = LeRobotDataset.resume(stock.SPEC.repo_id, root=root)
    first = dataset.num_episodes
else:
    dataset = LeRobotDataset.create(
        stock.SPEC.repo_id, stock.FPS, stock.schema().features(), root=root, robot_type="tabletop",
        rgb_encoder=stock.RGBEncoderConfig(**stock.asdict(stock.SPEC.rgb_encoder)),
    )
    first = 0
for number in range(3):
    stock.add_to(dataset, stock.make_episode(4 + number, episode_id=first + number))
os.kill(os.getpid(), signal.SIGKILL)
"""


def _record_and_kill(root: Path) -> None:
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(root), here], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
def test_three_saved_episodes_then_killed_are_lost_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    _record_and_kill(root)
    with pytest.raises(Exception, match=r".+"):
        stock.open_stock(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert recover_cli.main([str(root)]) == 3
    output = capsys.readouterr().out
    assert "lost     episodes 0 to 2 (15 frames)" in output
    assert "data/chunk-000/file-000.parquet has no footer" in output
    assert "observation.images.cam0: 15 frames of video are left without rows" in output
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "ds.salvaged").exists()


@pytest.mark.slow
def test_episodes_of_an_earlier_session_are_salvaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, salvaged = tmp_path / "ds", tmp_path / "ds.salvaged"
    stock.create_stock(root, [stock.make_episode(6), stock.make_episode(5, episode_id=1, task="another task")])
    _record_and_kill(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert recover_cli.main([str(root), "--dry-run"]) == 3
    assert not salvaged.exists()
    assert recover_cli.main([str(root)]) == 3
    output = capsys.readouterr().out
    assert "lost     episodes 2 to 4 (15 frames)" in output
    assert f"wrote episodes [0, 1] to {salvaged}" in output
    stock.assert_decodes(salvaged, 2, 11)
    result = verify(salvaged)
    assert result.good, result
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert recover_cli.main([str(salvaged)]) == 0


def test_a_whole_dataset_has_nothing_to_recover(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "ds"
    stock.create_stock(root, [stock.make_episode(3)])
    assert recover_cli.main([str(root)]) == 0
    assert capsys.readouterr().out == f"nothing was left beside {root}\n"

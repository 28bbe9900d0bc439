"""`onbeat verify` finds what is wrong, names it, and finds nothing wrong with good datasets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stock

from control.envs import frame_code
from transport.errors import UsageError
from writer import verify, verify_cli
from writer.commit import Committer

CAM0 = "observation.images.cam0"
VIDEO1 = f"videos/{CAM0}/chunk-000/file-001.mp4"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of 9 and 6 frames and two cameras, the frame's number drawn into every picture."""
    base = tmp_path_factory.mktemp("good")
    committer = Committer(base / "ds", base / "ds.onbeat", stock.SPEC, stock.schema())
    for i, frames in enumerate([9, 6]):
        episode = stock.make_episode(frames, episode_id=i)
        committer.commit(episode, numbered(frames))
    return base / "ds"


def numbered(frames: int, first: int = 0) -> Callable[[str, Path], None]:
    def write(key: str, path: Path) -> None:
        camera = int(key[-1])
        images = stock.pictures(stock.schema().pictures[camera], frames)
        for i, image in enumerate(images):
            frame_code.draw(image, i + first, camera)
        stock.encode(path, images)

    return write


@pytest.fixture
def dataset(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "ds"))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def set_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values).cast(table.schema.field(name).type))


def change_info(root: Path, **values: object) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def problems(root: Path) -> dict[int | None, list[str]]:
    result = verify.verify(root)
    found: dict[int | None, list[str]] = {e.episode_index: e.problems for e in result.episodes if e.problems}
    return {**found, None: result.problems} if result.problems else found


def test_a_good_dataset(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[int, int]] = []
    result = verify.verify(good, frame_code.read, lambda done, total: steps.append((done, total)))
    assert result.good
    assert [(e.rows, e.decoded) for e in result.episodes] == [
        (n, {CAM0: n, "observation.images.cam1": n}) for n in (9, 6)
    ]
    assert steps[-1] == (30, 30)
    assert verify_cli.main([str(good)]) == 0
    assert "2 episodes, 15 frames, all good" in capsys.readouterr().out


def test_stock_datasets_with_several_episodes_in_a_file(tmp_path: Path) -> None:
    stock.create_stock(tmp_path / "ds", [stock.make_episode(n, episode_id=i) for i, n in enumerate([9, 1, 40])])
    result = verify.verify(tmp_path / "ds")
    assert result.good
    assert [e.decoded[CAM0] for e in result.episodes] == [9, 1, 40]


def test_no_cameras(tmp_path: Path) -> None:
    of = stock.schema(0)
    episode = stock.make_episode(3, of=of)
    Committer(tmp_path / "ds", tmp_path / "ds.onbeat", stock.SPEC, of).commit(episode, stock.video_writer(episode))
    assert verify.verify(tmp_path / "ds").good
    assert verify.summary(tmp_path / "ds") == verify.DatasetSummary(1, 3, 0, {})


def test_truncated_video(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset / VIDEO1
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = problems(dataset)
    assert set(found) == {1}
    assert f"{CAM0}: {VIDEO1} does not decode" in found[1][0]
    assert verify_cli.main([str(dataset)]) == 3
    assert VIDEO1 in capsys.readouterr().out


def test_missing_video(dataset: Path) -> None:
    (dataset / VIDEO1).unlink()
    assert problems(dataset) == {1: [f"{CAM0}: {VIDEO1} is missing"]}


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(5, f"{CAM0}: 1 of 6 frames missing at their times: 5"), (7, f"{CAM0}: 1 frames more than rows")],
)
def test_a_frame_too_few_or_too_many(dataset: Path, frames: int, expected: str) -> None:
    numbered(frames)(CAM0, dataset / VIDEO1)
    assert problems(dataset) == {1: [expected]}


def test_frames_at_other_times(dataset: Path) -> None:
    faster = stock.replace(stock.SPEC, fps=60)
    stock.encode(dataset / VIDEO1, stock.pictures(stock.schema().pictures[0], 6), faster)
    assert problems(dataset) == {1: [f"{CAM0}: 3 of 6 frames missing at their times: 3, 4, 5"]}


def test_pictures_of_other_frames(dataset: Path) -> None:
    numbered(6, first=1)(CAM0, dataset / VIDEO1)
    assert verify.verify(dataset).good
    found = verify.verify(dataset, frame_code.read).episodes[1].problems
    assert found == [f"{CAM0}: 6 pictures are not their row's: frame 0 shows (1, 0), expected (0, 0)"]


@pytest.mark.parametrize("place", [0.3, 0.99])
def test_damaged_rows(dataset: Path, place: float) -> None:
    path = dataset / "data/chunk-000/file-001.parquet"
    data = bytearray(path.read_bytes())
    at = int(len(data) * place)
    data[at : at + 40] = bytes(40)
    path.write_bytes(data[: at + 40])
    found = problems(dataset)
    assert set(found) == {1}
    assert "data/chunk-000/file-001.parquet cannot be read" in found[1][0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.slice(0, 5), "5 rows, expected 6"),
        (lambda t: set_column(t, "index", np.arange(6)), "index is not 9 to 14"),
        (lambda t: set_column(t, "frame_index", np.array([0, 1, 1, 3, 4, 5])), "frame_index is not 0 to 5"),
        (lambda t: set_column(t, "timestamp", np.arange(6) / 29), "timestamp is not frame_index / fps"),
        (lambda t: set_column(t, "episode_index", np.zeros(6, int)), "0 rows, expected 6"),
        (lambda t: set_column(t, "task_index", np.full(6, 1)), "task_index beyond the 1 tasks"),
        (lambda t: t.drop_columns(["action"]), "data/chunk-000/file-001.parquet lacks the column action"),
    ],
)
def test_wrong_rows(dataset: Path, change: Callable[[pa.Table], pa.Table], expected: str) -> None:
    rewrite(dataset / "data/chunk-000/file-001.parquet", change)
    assert problems(dataset) == {1: [expected]}


def test_totals_that_do_not_add_up(dataset: Path) -> None:
    change_info(dataset, total_frames=16)
    assert problems(dataset) == {
        None: [
            "info.json counts 16 frames, meta/episodes 15",
            "meta/stats.json is of 15 frames, info.json counts 16",
        ]
    }
    change_info(dataset, total_frames=15, total_episodes=3, total_tasks=2)
    assert problems(dataset) == {
        None: [
            "meta/episodes lacks episodes [2] that info.json counts",
            "info.json counts 2 tasks, meta/tasks.parquet has 1",
        ]
    }


def test_damaged_metadata(dataset: Path) -> None:
    episodes = dataset / "meta/episodes/chunk-000/file-001.parquet"
    episodes.write_bytes(episodes.read_bytes()[:-50])
    (dataset / "meta/stats.json").write_text("{")
    (dataset / "meta/tasks.parquet").unlink()
    found = problems(dataset)[None]
    for part in ("file-001.parquet cannot be read", "lacks episodes [1]", "stats.json cannot", "tasks.parquet cannot"):
        assert any(part in line for line in found), part


def test_not_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="is not a LeRobotDataset"):
        verify.verify(tmp_path)
    assert verify_cli.main([str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_summary_counts_packets(dataset: Path) -> None:
    cam1 = "observation.images.cam1"
    assert verify.summary(dataset) == verify.DatasetSummary(2, 15, 0, {CAM0: 15, cam1: 15})
    assert verify.summary(dataset, first_episode=1) == verify.DatasetSummary(1, 6, 0, {CAM0: 6, cam1: 6})
    numbered(4)(CAM0, dataset / VIDEO1)
    (dataset / VIDEO1.replace("cam0", "cam1")).write_bytes(b"")
    assert verify.summary(dataset) == verify.DatasetSummary(2, 15, 8, {CAM0: 13, cam1: 9})
    assert verify.count_packets(dataset) == {CAM0: 13, cam1: 9}


def test_help_says_what_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        verify_cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "0.0001 s" in text
    assert "exit status" in text


def test_verify_starts_without_lerobot() -> None:
    code = "import sys, writer.verify_cli; sys.exit('lerobot' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

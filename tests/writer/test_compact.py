"""Compacted datasets, with stock LeRobot as the judge."""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import stock
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from transport.dataset_spec import DatasetSpec
from transport.errors import UsageError
from writer import swap
from writer.commit import Committer
from writer.commit_record import Intent, write_intent
from writer.compact import compact
from writer.compact_cli import main
from writer.errors import CompactError
from writer.lerobot_private import concatenate_files
from writer.verify import verify
from writer.workdir import RootLock, work_dir

LENGTHS = (5, 3, 7)


def record(root: Path, spec: DatasetSpec = stock.SPEC) -> Path:
    committer = Committer(root, work_dir(root), spec, stock.schema())
    for number, frames in enumerate(LENGTHS):
        episode = stock.make_episode(frames, spec=spec, episode_id=number, task=f"task {number % 2}")
        committer.commit(episode, stock.video_writer(episode))
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = record(tmp_path_factory.mktemp("recorded") / "ds")
    (root / "README.md").write_text("what this is")
    return root


@pytest.fixture
def root(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "ds"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("vcodec", ["h264", "libsvtav1"])
def test_stock_reads_the_same_frames_from_few_files(vcodec: str, tmp_path: Path) -> None:
    spec = replace(stock.SPEC, rgb_encoder=replace(stock.SPEC.rgb_encoder, vcodec=vcodec, preset=None))
    root = record(tmp_path / "ds", spec)
    dataset = stock.open_stock(root)
    before = [dataset[index] for index in range(sum(LENGTHS))]
    stats = json.loads((root / "meta" / "stats.json").read_text())
    info = json.loads((root / "meta" / "info.json").read_text())

    done = compact(root, concatenate_files)

    after = stock.assert_decodes(root, len(LENGTHS), sum(LENGTHS))
    for index, expected in enumerate(before):
        found = after[index]
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
    assert json.loads((root / "meta" / "info.json").read_text()) == info
    found_stats = json.loads((root / "meta" / "stats.json").read_text())
    assert found_stats.keys() == stats.keys()
    for key, values in stats.items():
        for name, value in values.items():
            np.testing.assert_allclose(found_stats[key][name], value, rtol=1e-9, atol=1e-12)
    for folder in ("data", "meta/episodes", "videos/observation.images.cam0", "videos/observation.images.cam1"):
        assert [path.name[:8] for path in (root / folder).glob("*/*")] == ["file-000"]
    assert done.files_after == len(contents(root)) < done.files_before


def test_what_lerobot_does_not_know_is_kept(root: Path) -> None:
    def unknown() -> dict[str, bytes]:
        return {name: data for name, data in contents(root).items() if "onbeat" in name or name == "README.md"}

    before = unknown()
    assert len(before) == 2 * len(LENGTHS) + 1
    compact(root, concatenate_files)
    assert unknown() == before


def test_nothing_is_left_beside_the_dataset(root: Path) -> None:
    compact(root, concatenate_files)
    assert list(root.parent.iterdir()) == [root]


def append_with_stock(root: Path, spec: DatasetSpec) -> None:
    encoder = RGBEncoderConfig(**asdict(spec.rgb_encoder))
    dataset = LeRobotDataset.resume(spec.repo_id, root=root, rgb_encoder=encoder)
    stock.add_to(dataset, stock.make_episode(2, episode_id=9))
    dataset.finalize()


def test_a_compacted_dataset_can_be_appended_to_by_us_and_by_stock_and_compacted_again(root: Path) -> None:
    compact(root, concatenate_files)
    spec = replace(stock.SPEC, resume=True)
    episode = stock.make_episode(4, spec=spec, episode_id=0, session_id="e" * 32)
    assert Committer(root, work_dir(root), spec, stock.schema()).commit(episode, stock.video_writer(episode))
    append_with_stock(root, stock.SPEC)
    stock.assert_decodes(root, 5, sum(LENGTHS) + 6)
    compact(root, concatenate_files)
    stock.assert_decodes(root, 5, sum(LENGTHS) + 6)
    assert verify(root).good


def test_stock_merges_a_compacted_dataset(root: Path, tmp_path: Path) -> None:
    compact(root, concatenate_files)
    other = record(tmp_path / "other")
    aggregate_datasets(["a/b", "c/d"], "e/f", roots=[root, other], aggr_root=tmp_path / "both")
    stock.assert_decodes(tmp_path / "both", 2 * len(LENGTHS), 2 * sum(LENGTHS))


def other_row(new: Path) -> None:
    path = next((new / "data").glob("*/*.parquet"))
    table = pq.read_table(path)
    index = table.schema.get_field_index("action")
    pq.write_table(
        table.set_column(index, table.schema.field(index), table["action"].take([1, *range(1, len(table))])), path
    )


def other_pictures(new: Path) -> None:
    one, other = (new / "videos" / f"observation.images.cam{i}" / "chunk-000" / "file-000.mp4" for i in (0, 1))
    shutil.copy(one, other)


def lost_video(new: Path) -> None:
    next((new / "videos").rglob("*.mp4")).unlink()


def other_info(new: Path) -> None:
    path = new / "meta" / "info.json"
    path.write_text(path.read_text().replace('"tabletop"', '"other"'))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (other_row, "the column action differs"),
        (other_pictures, "pictures of observation.images.cam1 differ"),
        (lost_video, "is missing"),
        (other_info, "robot_type"),
    ],
)
def test_a_copy_that_is_not_equal_never_takes_the_place(damage, named: str, root: Path) -> None:
    before = contents(root)

    def concatenate(old: Path, new: Path) -> None:
        concatenate_files(old, new)
        damage(new)

    with pytest.raises(CompactError, match=named):
        compact(root, concatenate)
    assert contents(root) == before
    assert list(root.parent.iterdir()) == [root]


def test_videos_that_cannot_be_concatenated_are_named_and_left(root: Path) -> None:
    append_with_stock(root, stock.replace_codec("libsvtav1"))
    before = contents(root)
    with pytest.raises(CompactError, match="not compatible"):
        compact(root, concatenate_files)
    assert contents(root) == before


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import stock
from writer import compact
from writer.lerobot_private import concatenate_files

step, root = sys.argv[2], Path(sys.argv[3])
for name in ("sync_tree", "exchange", "_prove_equal"):
    if name == step:
        setattr(compact, name, lambda *args: os._exit(9))
if step == "after":
    exchange = compact.exchange
    compact.exchange = lambda *args: (exchange(*args), os._exit(9))
compact.compact(root, concatenate_files)
"""


@pytest.mark.parametrize("step", ["_prove_equal", "exchange", "after"])
def test_killed_at_any_step_the_dataset_is_whole_and_the_next_run_succeeds(step: str, root: Path) -> None:
    folder = str(Path(stock.__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, folder, step, str(root)], cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    stock.assert_decodes(root, len(LENGTHS), sum(LENGTHS))
    compact(root, concatenate_files)
    stock.assert_decodes(root, len(LENGTHS), sum(LENGTHS))
    assert list(root.parent.iterdir()) == [root]


def test_a_dataset_that_is_being_recorded_is_refused(root: Path) -> None:
    before, lock = contents(root), RootLock(root, "the robot")
    with pytest.raises(UsageError, match="being recorded by the robot"):
        compact(root, concatenate_files)
    lock.release()
    assert contents(root) == before


def test_an_interrupted_commit_is_finished_first(root: Path) -> None:
    work_dir(root).mkdir()
    write_intent(Intent("s" * 32, 3, 3, 5, {}, ()), work_dir(root))
    with pytest.raises(UsageError, match="onbeat recover"):
        compact(root, concatenate_files)


def test_what_is_no_dataset_is_one_line(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("onbeat compact: ")
    assert list(tmp_path.iterdir()) == []


def test_folders_exchange_their_names(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    swap.exchange(tmp_path / "a", tmp_path / "b")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == ["a/b", "b/a"]


@pytest.mark.parametrize(("number", "raised"), [(errno.EINVAL, UsageError), (errno.EIO, OSError)])
def test_a_file_system_that_cannot_exchange_is_named(
    number: int, raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Libc:
        @staticmethod
        def renameat2(*args: object) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(swap, "_libc", Libc)
    with pytest.raises(raised, match=str(tmp_path)):
        swap.exchange(tmp_path, tmp_path)

"""A dataset written by the committer against one that stock lerobot writes from the same frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import stock
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.compute_stats import compute_episode_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import decode_video_frames
from PIL import Image

from transport.dataset_spec import EncoderSpec
from transport.schema import CHW, HWC, Schema
from writer.commit import Committer
from writer.episode import FinishedEpisode

AV1 = replace(stock.SPEC, rgb_encoder=EncoderSpec())


def commit_all(root: Path, episodes: list[FinishedEpisode]) -> Committer:
    committer = Committer(root, root.with_name(root.name + ".onbeat"), episodes[0].spec, episodes[0].schema)
    for episode in episodes:
        committer.commit(episode, stock.video_writer(episode))
    return committer


def both(tmp_path: Path, episodes: list[FinishedEpisode]) -> tuple[Path, Path]:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    commit_all(ours, episodes)
    stock.create_stock(theirs, episodes)
    return ours, theirs


def table(root: Path, part: str) -> dict[str, list]:
    """All files of one part of a dataset as columns, in order."""
    files = sorted((root / part).glob("*/*.parquet"))
    parts = [pq.read_table(path).to_pydict() for path in files]
    return {key: [value for part in parts for value in part[key]] for key in parts[0]}


def parquet_types(root: Path, part: str) -> dict[str, str]:
    schema = pq.read_schema(min((root / part).glob("*/*.parquet")))
    return {field.name: str(field.type) for field in schema}


def assert_same_info(ours: Path, theirs: Path) -> None:
    assert json.loads((ours / "meta/info.json").read_text()) == json.loads((theirs / "meta/info.json").read_text())


def assert_same_rows(ours: Path, theirs: Path) -> None:
    assert parquet_types(ours, "data") == parquet_types(theirs, "data")
    assert pq.read_schema(ours / "data/chunk-000/file-000.parquet").metadata == (
        pq.read_schema(theirs / "data/chunk-000/file-000.parquet").metadata
    )
    assert table(ours, "data") == table(theirs, "data")
    assert pq.read_table(ours / "meta/tasks.parquet").to_pydict() == (
        pq.read_table(theirs / "meta/tasks.parquet").to_pydict()
    )


def assert_same_episodes(ours: Path, theirs: Path) -> None:
    assert parquet_types(ours, "meta/episodes") == parquet_types(theirs, "meta/episodes")
    mine, other = table(ours, "meta/episodes"), table(theirs, "meta/episodes")
    for key in ("episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index"):
        assert mine[key] == other[key]
    for key in mine:
        if key.startswith("stats/"):
            for mine_value, other_value in zip(mine[key], other[key], strict=True):
                assert_close(key.split("/")[1], key.rsplit("/", 1)[1], mine_value, other_value)


def assert_same_statistics(ours: Path, theirs: Path) -> None:
    mine, other = (json.loads((root / "meta/stats.json").read_text()) for root in (ours, theirs))
    assert {k: set(v) for k, v in mine.items()} == {k: set(v) for k, v in other.items()}
    for key, statistics in other.items():
        for name, value in statistics.items():
            assert_close(key, name, mine[key][name], value)


def assert_close(key: str, name: str, mine: object, other: object) -> None:
    a, b = np.asarray(mine), np.asarray(other)
    assert a.shape == b.shape, (key, name)
    if name == "count" or "image" not in key:
        # Rows are the same numbers reduced by the same code; only the way through JSON and float32 differs.
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=f"{key} {name}")
    else:
        # Codec error at crf 30: single pixels move more than means do. `test_statistics_...` below is exact.
        np.testing.assert_allclose(a, b, atol=0.02 if name in ("mean", "std") else 0.15, err_msg=f"{key} {name}")


@pytest.mark.parametrize("frames", [1, 2, 9, 200])
@pytest.mark.parametrize("spec", [stock.SPEC, AV1], ids=["h264", "av1"])
def test_same_as_stock(tmp_path: Path, frames: int, spec: object) -> None:
    ours, theirs = both(tmp_path, [stock.make_episode(frames, spec=spec)])
    assert_same_info(ours, theirs)
    assert_same_rows(ours, theirs)
    assert_same_episodes(ours, theirs)
    assert_same_statistics(ours, theirs)
    dataset, other = stock.assert_decodes(ours, 1, frames), stock.open_stock(theirs)
    item, other_item = dataset[frames // 2], other[frames // 2]
    assert {k: (v.shape, v.dtype) for k, v in item.items() if k != "task"} == {
        k: (v.shape, v.dtype) for k, v in other_item.items() if k != "task"
    }
    assert item["task"] == other_item["task"]


@pytest.mark.parametrize(
    "of",
    [stock.schema(0), stock.schema(1, layout=CHW), stock.schema(1, layout=HWC, height=320, width=420)],
    ids=["no cameras", "channels first", "statistics of reduced pictures"],
)
def test_same_as_stock_for_other_streams(tmp_path: Path, of: Schema) -> None:
    ours, theirs = both(tmp_path, [stock.make_episode(5, of=of), stock.make_episode(3, of=of, episode_id=1)])
    assert_same_info(ours, theirs)
    assert_same_rows(ours, theirs)
    assert_same_episodes(ours, theirs)
    assert_same_statistics(ours, theirs)
    stock.assert_decodes(ours, 2, 8)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 48, 64), (9, 48, 64), (200, 48, 64), (5, 320, 420)])
def test_statistics_are_stocks_of_the_decoded_pictures(tmp_path: Path, frames: int, height: int, width: int) -> None:
    of = stock.schema(1, height=height, width=width)
    key = "observation.images.cam0"
    commit_all(tmp_path / "ours", [stock.make_episode(frames, of=of)])
    video = tmp_path / "ours/videos" / key / "chunk-000/file-000.mp4"
    decoded = decode_video_frames(video, [i / stock.FPS for i in range(frames)], 1e-4, "pyav", return_uint8=True)
    paths = [str(tmp_path / f"{i}.png") for i in range(frames)]
    for picture, path in zip(decoded, paths, strict=True):
        Image.fromarray(picture.numpy().transpose(1, 2, 0)).save(path)
    expected = compute_episode_stats({key: paths}, of.features())[key]
    found = json.loads((tmp_path / "ours/meta/stats.json").read_text())[key]
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, rtol=1e-6, err_msg=name)


def test_two_tasks(tmp_path: Path) -> None:
    tasks = ["lift the cube", "place the cube", "lift the cube"]
    episodes = [stock.make_episode(4, episode_id=i, task=task) for i, task in enumerate(tasks)]
    ours, theirs = both(tmp_path, episodes)
    assert_same_info(ours, theirs)
    assert_same_rows(ours, theirs)
    assert_same_statistics(ours, theirs)
    dataset = stock.assert_decodes(ours, 3, 12)
    assert [dataset[i]["task"] for i in (0, 4, 8)] == tasks


def test_stock_merges_ours_with_its_own(tmp_path: Path) -> None:
    ours, theirs = both(tmp_path, [stock.make_episode(9), stock.make_episode(2, episode_id=1)])
    merged = tmp_path / "merged"
    aggregate_datasets(["a/ours", "a/theirs"], "a/merged", roots=[ours, theirs], aggr_root=merged)
    stock.assert_decodes(merged, 4, 22)


def test_stock_resumes_ours(tmp_path: Path) -> None:
    root = tmp_path / "ours"
    commit_all(root, [stock.make_episode(9), stock.make_episode(1, episode_id=1)])
    dataset = LeRobotDataset.resume(stock.SPEC.repo_id, root=root)
    stock.add_to(dataset, stock.make_episode(5, episode_id=2))
    dataset.finalize()
    stock.assert_decodes(root, 3, 15)


def test_sidecar_holds_what_lerobot_has_no_place_for(tmp_path: Path) -> None:
    root, episode = tmp_path / "ours", stock.make_episode(9)
    commit_all(root, [episode])
    facts = json.loads((root / "meta/onbeat/episode-000000.json").read_text())
    assert (facts["session_id"], facts["episode_id"], facts["frames"]) == (stock.SESSION, 0, 9)
    assert facts["codec_options"] == {"tune": "zerolatency"}
    assert facts["gaps"] == []
    columns = pq.read_table(root / "meta/onbeat/episode-000000.parquet").to_pydict()
    assert set(columns) == {"frame_index", *(stream.key for stream in episode.schema.sidecar)}
    assert columns["onbeat.scheduled_ns"] == episode.rows["onbeat.scheduled_ns"][:, 0].tolist()
    np.testing.assert_array_equal(np.array(columns["onbeat.action_sent"]), episode.rows["onbeat.action_sent"])

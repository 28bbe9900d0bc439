"""What `writer.lerobot_private` relies on in lerobot beyond its public interface.

If an upgrade of lerobot fails here, read what changed there before touching the expected values: the commit depends on
the behaviour behind each of these names.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import stock
from lerobot.configs import DepthEncoderConfig, RGBEncoderConfig, infer_depth_unit
from lerobot.datasets import compute_stats, dataset_metadata, dataset_writer, depth_utils, io_utils, utils
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.dataset_writer import DatasetWriter
from lerobot.utils.constants import DEFAULT_FEATURES

from transport.dataset_spec import EncoderSpec
from writer import dataset_check, lerobot_private


def test_version() -> None:
    assert version("lerobot").startswith("0.6.")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            DatasetWriter.__init__,
            "self meta root rgb_encoder depth_encoder encoder_threads batch_encoding_size streaming_encoder "
            "initial_frames",
        ),
        (DatasetWriter.save_episode, "self episode_data parallel_encoding"),
        (DatasetWriter.finalize, "self"),
        (DatasetWriter._save_episode_video, "self video_key episode_index temp_path"),
        (DatasetWriter._save_episode_data, "self episode_buffer"),
        (
            LeRobotDatasetMetadata.create,
            "repo_id fps features robot_type root use_videos metadata_buffer_size chunks_size data_files_size_in_mb "
            "video_files_size_in_mb",
        ),
        (
            LeRobotDatasetMetadata.save_episode,
            "self episode_index episode_length episode_tasks episode_stats episode_metadata",
        ),
        (compute_stats.get_feature_stats, "array axis keepdims quantile_list"),
        (compute_stats.auto_downsample_height_width, "img target_size max_size_threshold"),
        (compute_stats.sample_indices, "data_len"),
        (utils.create_lerobot_dataset_card, "tags dataset_info kwargs"),
        (
            depth_utils.dequantize_depth,
            "quantized depth_min depth_max shift use_log pix_fmt output_unit output_tensor output_channel_last",
        ),
        (io_utils.load_info, "local_dir"),
        (io_utils.load_stats, "local_dir"),
        (io_utils.load_tasks, "local_dir"),
        (infer_depth_unit, "dtype"),
        (
            aggregate_datasets,
            "repo_ids aggr_repo_id roots aggr_root data_files_size_in_mb video_files_size_in_mb chunk_size "
            "concatenate_videos concatenate_data",
        ),
    ],
)
def test_signatures(function: Callable[..., object], parameters: str) -> None:
    assert list(inspect.signature(function).parameters) == parameters.split()


def test_every_lerobot_import_of_the_module_is_known_here() -> None:
    tree = ast.parse(Path(lerobot_private.__file__).read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lerobot")
        for alias in node.names
    }
    assert imported == {
        "lerobot.configs.DepthEncoderConfig",
        "lerobot.configs.RGBEncoderConfig",
        "lerobot.configs.infer_depth_unit",
        "lerobot.datasets.aggregate.aggregate_datasets",
        "lerobot.datasets.compute_stats.aggregate_stats",
        "lerobot.datasets.compute_stats.auto_downsample_height_width",
        "lerobot.datasets.compute_stats.get_feature_stats",
        "lerobot.datasets.compute_stats.sample_indices",
        "lerobot.datasets.dataset_metadata.CODEBASE_VERSION",
        "lerobot.datasets.dataset_metadata.LeRobotDatasetMetadata",
        "lerobot.datasets.dataset_writer.DatasetWriter",
        "lerobot.datasets.depth_utils.dequantize_depth",
        "lerobot.datasets.io_utils.load_info",
        "lerobot.datasets.io_utils.load_stats",
        "lerobot.datasets.io_utils.load_tasks",
        "lerobot.datasets.utils.create_lerobot_dataset_card",
        "lerobot.datasets.utils.serialize_dict",
        "lerobot.utils.utils.SuppressProgressBars",
        "lerobot.utils.utils.unflatten_dict",
    }


def test_metadata_that_reads_elsewhere_has_every_attribute_of_metadata_that_lerobot_makes(tmp_path: Path) -> None:
    stock.create_stock(tmp_path / "ds", [stock.make_episode(2, of=stock.schema(0))])
    theirs = set(vars(LeRobotDatasetMetadata(stock.SPEC.repo_id, root=tmp_path / "ds")))
    ours = set(vars(lerobot_private._metadata_of(tmp_path / "tree", tmp_path / "ds", None, stock.SPEC)))
    assert ours == theirs


def test_the_streaming_encoder_is_used_through_these_names_only() -> None:
    source = inspect.getsource(dataset_writer.DatasetWriter)
    used = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "_streaming_encoder"
    }
    # The first two only from add_frame, which the committer never calls.
    assert used == {"start_episode", "feed_frame", "finish_episode", "cancel_episode", "close"}
    assert all(hasattr(lerobot_private._ReadyVideos, name) for name in used - {"start_episode", "feed_frame"})


def test_where_the_next_files_go_depends_on_the_latest_row_alone() -> None:
    for function in (
        DatasetWriter._save_episode_data,
        DatasetWriter._save_episode_video,
        LeRobotDatasetMetadata._save_episode_metadata,
    ):
        tree = ast.parse("class C:\n" + inspect.getsource(function))
        indexed = {
            ast.unparse(node.slice)
            for node in ast.walk(tree)
            if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(".episodes")
        }
        assert indexed <= {"-1"}, function


def test_default_features_are_those_that_the_check_leaves_out() -> None:
    assert set(DEFAULT_FEATURES) == dataset_check._FILLED_BY_LEROBOT


def test_paths_are_those_that_the_commit_orders() -> None:
    assert utils.INFO_PATH == "meta/info.json"
    assert utils.STATS_PATH == "meta/stats.json"
    assert utils.DEFAULT_TASKS_PATH == "meta/tasks.parquet"
    assert utils.DEFAULT_EPISODES_PATH.startswith("meta/episodes/")
    assert utils.DEFAULT_DATA_PATH.startswith("data/")
    assert utils.DEFAULT_VIDEO_PATH.startswith("videos/{video_key}/")


def test_encoder_options_are_lerobots_field_for_field() -> None:
    theirs = {f.name: f.default for f in dataclasses.fields(RGBEncoderConfig) if f.name != "extra_options"}
    ours = {f.name: f.default for f in dataclasses.fields(EncoderSpec) if f.name != "extra_options"}
    assert ours == theirs


def test_videos_that_the_reader_decodes_for_depth_are_of_lerobots_format() -> None:
    assert DepthEncoderConfig().pix_fmt == lerobot_private.DEPTH


def test_statistics_of_pictures_keep_one_axis_for_lerobot_to_squeeze() -> None:
    found = compute_stats.get_feature_stats(np.zeros((2, 3, 4, 5), np.uint8), axis=(0, 2, 3), keepdims=True)
    assert found["mean"].shape == (1, 3, 1, 1)
    assert found["count"].tolist() == [2]


def test_codebase_version() -> None:
    assert dataset_metadata.CODEBASE_VERSION == "v3.0"

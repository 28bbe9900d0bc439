"""The only module that imports lerobot: one finished episode becomes one staged tree of dataset files.

lerobot's own writer writes the rows, the metadata and the running statistics, so every byte of them is stock. It is
given a fresh writer for each episode, whose memory of the dataset is the row of the latest episode alone: that makes
it start new files (one data file, one metadata file, one MP4 per camera and episode) and makes the cost of a commit
independent of the number of episodes. `tests/writer/test_lerobot_contract.py` pins every name used here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from lerobot.configs import DepthEncoderConfig, RGBEncoderConfig, infer_depth_unit
from lerobot.datasets.aggregate import aggregate_datasets
from lerobot.datasets.compute_stats import (
    aggregate_stats,
    auto_downsample_height_width,
    get_feature_stats,
    sample_indices,
)
from lerobot.datasets.dataset_metadata import CODEBASE_VERSION, LeRobotDatasetMetadata
from lerobot.datasets.dataset_writer import DatasetWriter
from lerobot.datasets.depth_utils import dequantize_depth
from lerobot.datasets.io_utils import load_info, load_stats, load_tasks
from lerobot.datasets.utils import create_lerobot_dataset_card, serialize_dict
from lerobot.utils.utils import SuppressProgressBars, unflatten_dict

from transport.dataset_spec import DatasetSpec
from transport.schema import Kind, Schema, Stream
from writer.episode import FinishedEpisode
from writer.errors import CommitError, CompactError
from writer.video_read import DEPTH, RGB, decode_frames, demux_count, video_facts

WriteVideo = Callable[[str, Path], None]
Statistics = dict[str, np.ndarray[Any, Any]]
_READY = "ready"


@dataclass(frozen=True, slots=True)
class Staged:
    """An episode in the staging tree.

    Attributes:
        row: its metadata row without the statistics: `latest` of the next call.
        videos: the path of each camera's MP4, relative to the tree.
    """

    row: Mapping[str, Any]
    videos: Mapping[str, str]


def stage_episode(
    tree: Path, root: Path | None, latest: Mapping[str, Any] | None, episode: FinishedEpisode, write_video: WriteVideo
) -> Staged:
    """Write the files that the dataset has, or has otherwise, after `episode` was added.

    Args:
        tree: the folder to write to; must not exist. It is laid out like the dataset.
        root: the dataset to append to, or None to begin one.
        latest: the metadata row of the dataset's latest episode, without its statistics; None if it has none.
        write_video: writes the MP4 of a camera, given its key and a path.

    Raises:
        CommitError: a video has not one packet per row, or is not encoded as the dataset's others are.
    """
    if root is None:
        meta = _new_metadata(tree, episode.spec, episode.schema)
    else:
        meta = _metadata_of(tree, root, latest, episode.spec)
    _note_depth_units(meta, episode.schema)
    # lerobot hands libav's log back to libav each time it probes a file; a line per opened decoder helps nobody.
    av.logging.set_libav_level(av.logging.ERROR)
    depth_encoder = DepthEncoderConfig(**asdict(episode.spec.depth_encoder))
    videos = _ReadyVideos(tree, meta, depth_encoder, episode, write_video)
    writer = DatasetWriter(
        meta=meta,
        root=tree,
        rgb_encoder=RGBEncoderConfig(**asdict(episode.spec.rgb_encoder)),
        depth_encoder=depth_encoder,
        encoder_threads=episode.spec.encoder_threads,
        batch_encoding_size=1,
        streaming_encoder=videos,
        initial_frames=meta.total_frames,
    )
    try:
        with SuppressProgressBars():
            writer.save_episode(episode_data=_episode_buffer(episode, meta.total_episodes))
    finally:
        writer.finalize()
    shutil.rmtree(tree / _READY, ignore_errors=True)
    row = {key: value[0] for key, value in meta.latest_episode.items() if not key.startswith("stats/")}
    paths = {
        key: meta.video_path.format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )
        for key in meta.video_keys
    }
    return Staged(row, paths)


def _new_metadata(tree: Path, spec: DatasetSpec, schema: Schema) -> LeRobotDatasetMetadata:
    return LeRobotDatasetMetadata.create(
        repo_id=spec.repo_id,
        fps=spec.fps,
        features=schema.features(),
        robot_type=spec.robot_type,
        root=tree,
        metadata_buffer_size=1,
    )


def _metadata_of(tree: Path, root: Path, latest: Mapping[str, Any] | None, spec: DatasetSpec) -> LeRobotDatasetMetadata:
    """Metadata that reads from `root` and writes to `tree`.

    The constructor would load every episode's row through the datasets library, which costs more with each episode and
    leaves a cache folder each time; `create` makes folders. So the attributes that both set are set here.
    """
    tree.mkdir(parents=True)
    meta = LeRobotDatasetMetadata.__new__(LeRobotDatasetMetadata)
    meta.repo_id = spec.repo_id
    meta.repo_type = "dataset"
    meta.revision = CODEBASE_VERSION
    meta._requested_root = tree
    meta.root = tree
    meta.info = load_info(root)
    meta.tasks = load_tasks(root) if meta.info.total_tasks else None
    meta.stats = load_stats(root)
    meta.episodes = None if latest is None else [latest]
    meta.latest_episode = None
    meta._pq_writer = None
    meta._metadata_buffer = []
    meta._metadata_buffer_size = 1
    meta._finalized = False
    return meta


def _note_depth_units(meta: LeRobotDatasetMetadata, schema: Schema) -> None:
    """As `DatasetWriter.add_frame` does with the first frame, which never passes through it here."""
    for stream in schema.pictures:
        if stream.kind is Kind.DEPTH:
            info = meta.features[stream.key].setdefault("info", {})
            info.setdefault("depth_unit", infer_depth_unit(np.dtype(stream.dtype)))


def _episode_buffer(episode: FinishedEpisode, index: int) -> dict[str, Any]:
    frames = len(episode.rows)
    frame_index = np.arange(frames)
    return {
        "size": frames,
        "task": [episode.task] * frames,
        "episode_index": index,
        "frame_index": frame_index,
        "timestamp": frame_index / episode.spec.fps,
        **{key: [] for key in ("index", "task_index")},
        **{stream.key: episode.rows[stream.key] for stream in episode.schema.rows},
        **{stream.key: [] for stream in episode.schema.pictures},
    }


class _ReadyVideos:
    """Takes the place of lerobot's streaming encoder: at the end of the episode the videos are already encoded."""

    def __init__(
        self,
        tree: Path,
        meta: LeRobotDatasetMetadata,
        depth_encoder: DepthEncoderConfig,
        episode: FinishedEpisode,
        write_video: WriteVideo,
    ) -> None:
        self._tree = tree
        self._meta = meta
        self._depth_encoder = depth_encoder
        self._episode = episode
        self._write_video = write_video

    def finish_episode(self) -> dict[str, tuple[Path, Statistics]]:
        """The MP4 and the statistics of each camera. lerobot moves the file and removes the folder it was in."""
        results = {}
        for stream in self._episode.schema.pictures:
            path = self._tree / _READY / stream.key / "episode.mp4"
            path.parent.mkdir(parents=True)
            self._write_video(stream.key, path)
            self._check(stream, path)
            results[stream.key] = (path, self._statistics(stream, path))
        return results

    def cancel_episode(self) -> None:
        """Nothing runs that could be cancelled."""

    def close(self) -> None:
        """Nothing is open."""

    def _check(self, stream: Stream, path: Path) -> None:
        rows, packets = len(self._episode.rows), demux_count(path)
        if packets != rows:
            raise CommitError(
                f"{stream.key}: the video has {packets} packets, the episode {rows} rows; its journal is kept"
            )
        found = video_facts(path)
        if (found.width, found.height) != (stream.width, stream.height):
            raise CommitError(
                f"{stream.key}: the video is {found.width}x{found.height}, the stream {stream.width}x{stream.height}"
            )
        info = self._meta.features[stream.key].get("info") or {}
        codec, pix_fmt = info.get("video.codec", found.codec), info.get("video.pix_fmt", found.pix_fmt)
        if (found.codec, found.pix_fmt) != (codec, pix_fmt):
            raise CommitError(
                f"{stream.key}: the video is {found.codec} {found.pix_fmt}, the dataset's others are {codec} "
                f"{pix_fmt}; record with the dataset's codec or into another dataset"
            )

    def _statistics(self, stream: Stream, path: Path) -> Statistics:
        """As lerobot's `compute_episode_stats` samples and reduces them, before its scaling to 0..1."""
        indices = sample_indices(len(self._episode.rows))
        depth = stream.kind is Kind.DEPTH
        samples = None
        pictures = decode_frames(path, indices, self._episode.spec.fps, DEPTH if depth else RGB)
        for i, picture in enumerate(pictures):
            channels_first = self._metric_depth(stream, picture) if depth else picture.transpose(2, 0, 1)
            sample = auto_downsample_height_width(channels_first)
            if samples is None:
                samples = np.empty((len(indices), *sample.shape), dtype=sample.dtype)
            samples[i] = sample
        statistics: Statistics = get_feature_stats(samples, axis=(0, 2, 3), keepdims=True)
        return statistics

    def _metric_depth(self, stream: Stream, picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        encoder = self._depth_encoder
        depth: np.ndarray[Any, Any] = dequantize_depth(
            picture,
            depth_min=encoder.depth_min,
            depth_max=encoder.depth_max,
            shift=encoder.shift,
            use_log=encoder.use_log,
            output_unit=infer_depth_unit(np.dtype(stream.dtype)),
            output_tensor=False,
        )
        return depth


def aggregate_episode_stats(root: Path) -> dict[str, Any]:
    """`meta/stats.json` of a dataset from the statistics in its episodes' metadata, as lerobot aggregates them."""
    stats = []
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            flat = {
                key.removeprefix("stats/"): np.array(value) for key, value in row.items() if key.startswith("stats/")
            }
            stats.append(unflatten_dict(flat))
    nested: dict[str, Any] = serialize_dict(aggregate_stats(stats))
    return nested


def concatenate_files(root: Path, tree: Path) -> None:
    """Write the dataset at `root` into `tree`, which must not exist, with as few files as its own limits on their sizes
    allow; no video is encoded again. It is lerobot's merge, of one dataset.

    Raises:
        CompactError: lerobot cannot, for example because videos of a camera were encoded differently.
    """
    info = load_info(root)
    av.logging.set_libav_level(av.logging.ERROR)
    name = f"local/{root.name}"
    try:
        aggregate_datasets(
            [name],
            name,
            roots=[root],
            aggr_root=tree,
            data_files_size_in_mb=info.data_files_size_in_mb,
            video_files_size_in_mb=info.video_files_size_in_mb,
            chunk_size=info.chunks_size,
        )
    except (ValueError, av.FFmpegError) as error:
        raise CompactError(f"lerobot cannot concatenate {root}, nothing was changed: {error}") from error


def hub_card(root: Path, repo_id: str, tags: Sequence[str]) -> tuple[str, str]:
    """The README.md that lerobot's `push_to_hub` gives a dataset on the Hub, and the tag that it sets there."""
    card = create_lerobot_dataset_card(
        tags=list(tags) or None, dataset_info=load_info(root), license="apache-2.0", repo_id=repo_id
    )
    return str(card), CODEBASE_VERSION

"""The same frames, once through stock lerobot and once through the committer, and stock's view of the result.

lerobot decides where its caches are when it is imported, so the environment is set first.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="onbeat-test-hf-"))
os.environ.setdefault("HF_LEROBOT_HOME", os.environ["HF_HOME"] + "/lerobot")

import av
import numpy as np
from lerobot.configs import DepthEncoderConfig, RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from transport.dataset_spec import DatasetSpec, EncoderSpec
from transport.records import EndReason
from transport.schema import CHW, HWC, Kind, Schema, Stream
from writer.episode import FinishedEpisode

FPS = 30
H264 = EncoderSpec(vcodec="h264", preset="ultrafast")
SPEC = DatasetSpec(repo_id="test/dataset", fps=FPS, rgb_encoder=H264, robot_type="tabletop")
SESSION = "0123456789abcdef" * 2


def replace_codec(vcodec: str) -> DatasetSpec:
    return replace(SPEC, rgb_encoder=EncoderSpec(vcodec=vcodec))


def schema(cameras: int = 2, *, layout: tuple[str, ...] = HWC, height: int = 48, width: int = 64) -> Schema:
    shape = (height, width, 3) if layout == HWC else (3, height, width)
    return Schema(
        (
            Stream("observation.state", "float32", (3,), names=("x", "y", "z")),
            *(Stream(f"observation.images.cam{i}", "uint8", shape, Kind.VIDEO, layout) for i in range(cameras)),
            Stream("action", "float32", (2,), names=("dx", "dy")),
            Stream("next.reward", "float32", (1,)),
            Stream("next.done", "bool", (1,)),
        ),
        telemetry=(Stream("onbeat.action_sent", "float32", (2,)),),
    )


def pictures(stream: Stream, frames: int, seed: int = 0) -> np.ndarray:
    """Smooth moving pictures, shape (frames, height, width, 3) uint8, another set for every stream and seed."""
    y, x = np.mgrid[: stream.height, : stream.width]
    phase = sum(map(ord, stream.key)) + 17 * seed
    waves = [
        128 + 100 * np.sin((x * (c + 1) + y * 2 + 5 * t + phase) / stream.width * 2)
        for t in range(frames)
        for c in range(3)
    ]
    return np.stack(waves).reshape(frames, 3, stream.height, stream.width).transpose(0, 2, 3, 1).astype(np.uint8)


def rows(of: Schema, frames: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    result = np.zeros(frames, of.row_dtype)
    for stream in (*of.rows, *of.sidecar):
        values = random.normal(size=(frames, *stream.shape)) * 10
        result[stream.key] = values > 0 if stream.dtype == "bool" else np.abs(values).astype(stream.dtype)
    return result


def make_episode(
    frames: int,
    *,
    of: Schema | None = None,
    spec: DatasetSpec = SPEC,
    episode_id: int = 0,
    task: str = "lift the cube",
    session_id: str = SESSION,
) -> FinishedEpisode:
    """An episode without tracks: the tests write the videos themselves."""
    of = of or schema()
    return FinishedEpisode(
        session_id=session_id,
        episode_id=episode_id,
        task=task,
        schema=of,
        spec=spec,
        rows=rows(of, frames, episode_id),
        videos={},
        reason=EndReason.SUCCESS,
        codec_options={"tune": "zerolatency"},
    )


def encode(path: Path, images: np.ndarray, spec: DatasetSpec = SPEC) -> None:
    """An MP4 as stock lerobot's non-streaming path encodes it, with the same encoder and options."""
    config = RGBEncoderConfig(**asdict(spec.rgb_encoder))
    with av.open(str(path), "w") as output:
        stream = output.add_stream(config.vcodec, spec.fps, options=config.get_codec_options(as_strings=True))
        stream.pix_fmt = config.pix_fmt
        stream.height, stream.width = images.shape[1:3]
        for image in images:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        output.mux(stream.encode())


def video_writer(episode: FinishedEpisode) -> Callable[[str, Path], None]:
    """What the ingest side hands to the committer: writes the episode's MP4 of one camera."""
    streams = {stream.key: stream for stream in episode.schema.pictures}

    def write(key: str, path: Path) -> None:
        encode(path, pictures(streams[key], len(episode.rows), episode.episode_id), episode.spec)

    return write


def frame_of(episode: FinishedEpisode, images: Mapping[str, np.ndarray], index: int) -> dict[str, Any]:
    frame: dict[str, Any] = {s.key: np.array(episode.rows[s.key][index]) for s in episode.schema.rows}
    for stream in episode.schema.pictures:
        image = images[stream.key][index]
        frame[stream.key] = image.transpose(2, 0, 1) if stream.names == CHW else image
    return {**frame, "task": episode.task}


def add_to(dataset: LeRobotDataset, episode: FinishedEpisode) -> None:
    """One episode through stock's add_frame and save_episode."""
    images = {s.key: pictures(s, len(episode.rows), episode.episode_id) for s in episode.schema.pictures}
    for index in range(len(episode.rows)):
        dataset.add_frame(frame_of(episode, images, index))
    dataset.save_episode()


def create_stock(root: Path, episodes: list[FinishedEpisode]) -> None:
    """The dataset that stock lerobot makes of these episodes, without streaming."""
    spec, of = episodes[0].spec, episodes[0].schema
    dataset = LeRobotDataset.create(
        spec.repo_id,
        spec.fps,
        of.features(),
        root=root,
        robot_type=spec.robot_type,
        rgb_encoder=RGBEncoderConfig(**asdict(spec.rgb_encoder)),
        depth_encoder=DepthEncoderConfig(),
    )
    for episode in episodes:
        add_to(dataset, episode)
    dataset.finalize()


def open_stock(root: Path) -> LeRobotDataset:
    return LeRobotDataset(SPEC.repo_id, root=root, video_backend="pyav", tolerance_s=1e-4)


def assert_decodes(root: Path, episodes: int, frames: int) -> LeRobotDataset:
    """Stock opens the dataset and every frame of every camera decodes at its timestamp."""
    dataset = open_stock(root)
    assert (dataset.num_episodes, dataset.num_frames, len(dataset)) == (episodes, frames, frames)
    for index in range(frames):
        item = dataset[index]
        assert int(item["index"]) == index
        for key in dataset.meta.video_keys:
            assert item[key].shape[0] == 3
    return dataset

"""Depth streams: the committer's part of them agrees with stock, given a video as stock encodes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import stock
from lerobot.configs import DepthEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import encode_video_frames
from PIL import Image

from transport.schema import HWC, Kind, Schema, Stream
from writer import verify
from writer.commit import Committer

FRAMES, KEY = 9, "observation.images.depth"


def depth_maps(dtype: str) -> np.ndarray:
    """Metres as float32 or millimetres as uint16, shape (frames, height, width, 1)."""
    y, x = np.mgrid[:96, :128]  # lerobot encodes depth with B-frames, which x265 does not bear in small pictures
    metres = np.stack([1 + (x + y + 5 * t) / 100 for t in range(FRAMES)])[..., None]
    return metres.astype(np.float32) if dtype == "float32" else (metres * 1000).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_same_as_stock(tmp_path: Path, dtype: str) -> None:
    of = Schema((Stream("action", "float32", (2,)), Stream(KEY, dtype, (96, 128, 1), Kind.DEPTH, HWC)))
    episode, maps = stock.make_episode(FRAMES, of=of), depth_maps(dtype)

    theirs = LeRobotDataset.create(
        stock.SPEC.repo_id, stock.FPS, of.features(), root=tmp_path / "theirs", robot_type=stock.SPEC.robot_type
    )
    for action, depth in zip(episode.rows["action"], maps, strict=True):
        theirs.add_frame({"action": np.array(action), KEY: depth, "task": episode.task})
    theirs.save_episode()
    theirs.finalize()

    def write_video(key: str, path: Path) -> None:
        images = tmp_path / "images"
        images.mkdir()
        for i, depth in enumerate(maps):
            Image.fromarray(depth[..., 0]).save(images / f"frame-{i:06d}.tiff")
        encode_video_frames(images, path, stock.FPS, DepthEncoderConfig())

    ours = tmp_path / "ours"
    Committer(ours, tmp_path / "ours.onbeat", stock.SPEC, of).commit(episode, write_video)
    infos = [json.loads((root / "meta/info.json").read_text()) for root in (ours, tmp_path / "theirs")]
    assert infos[0] == infos[1]
    mine, other = (json.loads((root / "meta/stats.json").read_text())[KEY] for root in (ours, tmp_path / "theirs"))
    for name, value in other.items():
        # 12 bits on a logarithmic scale from 0.01 to 10 m: steps of 1.2 to 3.3 mm.
        unit = 1.0 if dtype == "float32" else 1000.0
        np.testing.assert_allclose(mine[name], value, atol=0.004 * unit if name != "count" else 0, err_msg=name)
    dataset = stock.open_stock(ours)
    assert dataset[FRAMES - 1][KEY].shape == (1, 96, 128)
    assert verify.verify(ours).good

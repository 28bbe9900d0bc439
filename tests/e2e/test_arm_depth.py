"""A camera with depth beside two without, recorded by onbeat and by stock lerobot-record with the same flags."""

from __future__ import annotations

import shutil
from pathlib import Path

import arm_session
import numpy as np
import outcome
import pytest
import stock_arm
from lerobot.datasets import LeRobotDataset, aggregate_datasets
from lerobot_camera_testfile.depth import depth_of

from control.envs import frame_code
from scripts.emulators.rig import Rig
from transport.dataset_spec import DepthEncoderSpec
from writer.depth import quantize
from writer.video_read import DEPTH, decode_all

pytestmark = [pytest.mark.acceptance, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(500)]

FPS = 30
EPISODES, FRAMES = 2, 30
COLOUR, DEEP = "observation.images.top", "observation.images.top_depth"


def test_depth_is_stocks_in_form_and_exact_in_every_code(tmp_path: Path) -> None:
    ours, stock = tmp_path / "ours", tmp_path / "stock"
    with arm_session.short_rig(fps=FPS, width=160, height=120, depth_camera="top") as rig:
        flags = arm_session.dataset_flags(rig, num_episodes=EPISODES, episode_time_s=FRAMES / FPS)
        arm_session.record_ours(flags, ours, tmp_path)
        outcome.assert_whole(ours, episodes=EPISODES, numbered=False)
        assert_depth_beside_its_picture(rig, ours)
        for _ in range(arm_session.ATTEMPTS):
            shutil.rmtree(stock, ignore_errors=True)
            if stock_arm.run_stock("lerobot-record", tmp_path, [*flags, f"--dataset.root={stock}"]):
                break
    features = [outcome.info(root)["features"] for root in (ours, stock)]
    assert features[0] == features[1]
    assert list(features[0]) == list(features[1])
    assert features[0][DEEP]["info"]["is_depth_map"]
    for name, roots in (("first", [ours, stock]), ("second", [stock, ours])):
        aggregate_datasets(["me/pick"] * 2, "me/both", roots=roots, aggr_root=tmp_path / name)
        dataset = LeRobotDataset("me/both", root=tmp_path / name, video_backend="pyav")
        assert dataset.num_episodes == 2 * EPISODES
        for episode in range(dataset.num_episodes):
            row = dataset.meta.episodes[episode]
            for index in (row["dataset_from_index"], row["dataset_to_index"] - 1):
                assert dataset[index][DEEP].shape == (1, 120, 160)


def assert_depth_beside_its_picture(rig: Rig, root: Path) -> None:
    """lerobot's depth encoder loses nothing behind its 12 bits, and the picture's number tells which depth it had."""
    together = 0
    for episode in range(EPISODES):
        told, name = outcome.telemetry(root, episode), f"chunk-000/file-{episode:03d}.mp4"
        pictures = outcome.decode(root / "videos" / COLOUR / name)
        depths = [frame.picture for frame in decode_all(root / "videos" / DEEP / name, DEPTH)]
        assert len(pictures) == len(depths) == FRAMES
        behind = (told["cameras.top_depth.seq"].astype(np.int64) - told["cameras.top.seq"].astype(np.int64)).ravel()
        for picture, depth, ahead in zip(pictures, depths, behind, strict=True):
            code = frame_code.read(picture)
            assert code is not None
            # The driver, as lerobot's own, hands out one after the other: the depth may be of the next moment.
            made = [depth_of((code[0] + more) % rig.pictures, 120, 160) for more in (0, int(ahead))]
            assert any(np.array_equal(depth, quantize(each[..., 0], DepthEncoderSpec())) for each in made)
        together += int((behind == 0).sum())
    assert together > EPISODES * FRAMES / 2

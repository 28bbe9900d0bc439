"""Chosen frames are decoded exactly, wherever the key frames lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stock
from hypothesis import given, settings
from hypothesis import strategies as st

from control.envs import frame_code
from transport.dataset_spec import EncoderSpec
from writer import video_read

FRAMES = 60
ENCODERS = {
    "h264 key frames 2 apart": stock.H264,
    # x264's defaults: one key frame, and packets that are not in the order of their times.
    "h264 with b frames": EncoderSpec(vcodec="h264", g=250, preset="medium"),
    "h264 all key frames": EncoderSpec(vcodec="h264", g=1, preset="ultrafast"),
    "av1": EncoderSpec(),
    "av1 key frames 16 apart": EncoderSpec(g=16),
}


@pytest.fixture(scope="module", params=ENCODERS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    images = np.full((FRAMES, 96, 128, 3), 120, np.uint8)
    for number, image in enumerate(images):
        frame_code.draw(image, number, 0)
    stock.encode(path, images, replace(stock.SPEC, rgb_encoder=ENCODERS[request.param]))
    return path


@settings(max_examples=15, deadline=None)
@given(indices=st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=12).map(sorted))
def test_the_frames_asked_for_are_the_frames_decoded(video: Path, indices: list[int]) -> None:
    decoded = video_read.decode_frames(video, indices, stock.FPS)
    assert [frame_code.read(picture) for picture in decoded] == [(index, 0) for index in indices]


def test_every_frame_has_its_time(video: Path) -> None:
    times = video_read.frame_timestamps(video)
    np.testing.assert_allclose(times, np.arange(FRAMES) / stock.FPS, atol=1e-4)
    assert video_read.demux_count(video) == FRAMES


def test_a_frame_beyond_the_end_is_an_error(video: Path) -> None:
    with pytest.raises(LookupError, match="ends before frame 60"):
        list(video_read.decode_frames(video, [FRAMES - 1, FRAMES], stock.FPS))


def test_indices_must_not_decrease(video: Path) -> None:
    with pytest.raises(ValueError, match="must not decrease"):
        next(video_read.decode_frames(video, [3, 2], stock.FPS))


def test_facts(video: Path) -> None:
    facts = video_read.video_facts(video)
    assert facts.codec in ("h264", "av1")
    assert (facts.pix_fmt, facts.width, facts.height) == ("yuv420p", 128, 96)

"""Encode what the tabletop draws, decode it, and compare: the codes on every frame, and the pictures."""

import io
from fractions import Fraction

import av
import gymnasium
import numpy as np
import pytest

import control.envs
from control.envs import frame_code
from control.scripted import ScriptedTeleoperator

FRAMES = 40
H264 = ("h264", {"crf": "30", "preset": "ultrafast", "g": "2"})
AV1 = ("libsvtav1", {"crf": "30", "preset": "12", "g": "2"})


def recorded(width, height, cameras=2):
    env = gymnasium.make(control.envs.TABLETOP_ID, cameras=cameras, width=width, height=height)
    operator = ScriptedTeleoperator()
    observation, info = env.reset(seed=3)
    operator.reset()
    for step in range(100):
        # The first frames and those of the carry, in which most moves.
        if step < FRAMES // 2 or step >= 100 - FRAMES // 2:
            yield [picture for key, picture in observation.items() if "images" in key]
        observation, _, _, _, info = env.step(operator.act(observation, info).action)


def through_video(pictures, codec, pix_fmt):
    name, options = codec
    height, width, _ = pictures[0].shape
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(name, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = Fraction(1, 30)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def psnr_db(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2))


@pytest.mark.parametrize(
    ("width", "height", "codec", "pix_fmt"),
    [
        pytest.param(640, 480, H264, "yuv420p", id="640x480-h264"),
        pytest.param(640, 480, AV1, "yuv420p", id="640x480-av1"),
        pytest.param(320, 240, H264, "yuv420p", id="320x240-h264"),
        pytest.param(320, 240, AV1, "yuv420p", id="320x240-av1"),
        pytest.param(64, 48, H264, "yuv420p", id="smallest-h264"),
        pytest.param(64, 64, AV1, "yuv420p", id="64x64-av1"),
        pytest.param(321, 241, H264, "yuv444p", id="odd-h264"),
        pytest.param(321, 241, AV1, "yuv420p", id="odd-av1"),
    ],
)
def test_codes_and_pictures_survive_the_default_quality(width, height, codec, pix_fmt):
    per_camera = list(zip(*recorded(width, height), strict=True))
    for camera, drawn in enumerate(per_camera):
        decoded = through_video(drawn, codec, pix_fmt)
        assert len(decoded) == FRAMES
        assert [frame_code.read(picture) for picture in decoded] == [frame_code.read(picture) for picture in drawn]
        assert frame_code.read(decoded[-1]) == (99, camera)
        if width >= 320:
            assert min(psnr_db(a, b) for a, b in zip(drawn, decoded, strict=True)) >= 30


@pytest.mark.parametrize("codec", [H264, AV1], ids=["h264", "av1"])
def test_large_numbers_survive_the_default_quality(codec):
    rng = np.random.default_rng(1)
    codes = [(int(rng.integers(1 << 24)), int(rng.integers(1 << 8))) for _ in range(30)]
    pictures = []
    for number, camera in codes:
        # Worse than any camera: a gradient that jumps from frame to frame.
        picture = np.empty((96, 128, 3), np.uint8)
        picture[:] = np.linspace(*rng.uniform(0, 255, 2), 128)[None, :, None]
        frame_code.draw(picture, number, camera)
        pictures.append(picture)
    assert [frame_code.read(picture) for picture in through_video(pictures, codec, "yuv420p")] == codes

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numbered_pictures import psnr
from numpy.typing import NDArray

from writer.convert import Converter

Picture = NDArray[np.uint8]


def stripes(width: int, height: int, axis: int, period: int) -> Picture:
    colours = np.array([(255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 0)], np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    return colours[((x if axis else y) // period) % len(colours)]


def random_stripes(width: int, height: int, axis: int) -> Picture:
    line = np.random.default_rng(2).integers(0, 256, (width if axis else height, 3), np.uint8)
    return np.ascontiguousarray(np.broadcast_to(line[None] if axis else line[:, None], (height, width, 3)))


def gradient(width: int, height: int) -> Picture:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


PICTURES = {
    "noise": lambda w, h: np.random.default_rng(1).integers(0, 256, (h, w, 3), np.uint8),
    "vertical stripes of one": lambda w, h: stripes(w, h, 1, 1),
    "horizontal stripes of one": lambda w, h: stripes(w, h, 0, 1),
    "vertical stripes of five": lambda w, h: stripes(w, h, 1, 5),
    "horizontal stripes of five": lambda w, h: stripes(w, h, 0, 5),
    "vertical random lines": lambda w, h: random_stripes(w, h, 1),
    "horizontal random lines": lambda w, h: random_stripes(w, h, 0),
}


def round_trip(frame: av.VideoFrame) -> Picture:
    return VideoReformatter().reformat(frame, format="rgb24").to_ndarray()


def by_swscale(picture: Picture, pix_fmt: str) -> av.VideoFrame:
    return VideoReformatter().reformat(av.VideoFrame.from_ndarray(picture, "rgb24"), format=pix_fmt)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (322, 242)])
@pytest.mark.parametrize("name", PICTURES)
def test_within_0_3_decibels_of_swscale(name: str, size: tuple[int, int]) -> None:
    picture = PICTURES[name](*size)
    ours = psnr(round_trip(Converter(*size, "yuv420p")(picture)), picture)
    assert ours >= psnr(round_trip(by_swscale(picture, "yuv420p")), picture) - 0.3


def test_a_smooth_picture_stays_smooth() -> None:
    picture = gradient(640, 480)
    assert psnr(round_trip(Converter(640, 480, "yuv420p")(picture)), picture) >= 44


@pytest.mark.parametrize(
    "colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (10, 200, 90)]
)
def test_plain_colours_get_the_levels_of_swscale(colour: tuple[int, int, int]) -> None:
    """BT.601, limited range: white is 235, not 255."""
    picture = np.full((16, 32, 3), colour, np.uint8)
    ours, theirs = Converter(32, 16, "yuv420p")(picture).to_ndarray(), by_swscale(picture, "yuv420p").to_ndarray()
    assert int(np.abs(ours.astype(int) - theirs).max()) <= 1


@pytest.mark.parametrize(
    ("size", "pix_fmt"), [((32, 17), "yuv420p"), ((33, 17), "yuv444p"), ((32, 16), "yuv420p10le"), ((32, 16), "nv12")]
)
def test_other_sizes_and_formats_are_those_of_swscale(size: tuple[int, int], pix_fmt: str) -> None:
    picture = gradient(*size)
    frame = Converter(*size, pix_fmt)(picture)
    assert (frame.width, frame.height, frame.format.name) == (*size, pix_fmt)
    assert np.array_equal(round_trip(frame), round_trip(by_swscale(picture, pix_fmt)))


def test_the_last_column_of_an_odd_width_has_its_own_colour() -> None:
    picture = np.zeros((17, 33, 3), np.uint8)
    picture[:, :16], picture[:, 16:] = (0, 0, 255), (255, 0, 0)
    frame = Converter(33, 17, "yuv420p")(picture)
    assert (frame.width, frame.height, frame.format.name) == (33, 17, "yuv420p")
    assert int(np.abs(round_trip(frame)[:, 32].astype(int) - (255, 0, 0)).max()) <= 4


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((16, 31, 3), np.uint8),
        np.zeros((16, 32), np.uint8),
        np.zeros((16, 32, 3), np.float32),
        np.zeros((32, 16, 3), np.uint8).transpose(1, 0, 2),
    ],
    ids=["width", "grey", "float", "strided"],
)
def test_what_is_no_picture_of_this_size_is_refused(picture: Picture) -> None:
    with pytest.raises(ValueError, match=r"expected|memory"):
        Converter(32, 16, "yuv420p")(picture)


def test_a_read_only_picture_is_taken() -> None:
    """Pictures arrive in messages whose memory may not be written."""
    data = gradient(32, 16).tobytes()
    assert round_trip(Converter(32, 16, "yuv420p")(np.frombuffer(data, np.uint8).reshape(16, 32, 3))).any()
    assert round_trip(Converter(32, 16, "yuv444p")(np.frombuffer(data, np.uint8).reshape(16, 32, 3))).any()

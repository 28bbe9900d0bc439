"""Depth maps from the network to a video, against lerobot's own quantizer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from lerobot.configs import DepthEncoderConfig
from lerobot.datasets.depth_utils import quantize_depth

from transport.dataset_spec import DatasetSpec, DepthEncoderSpec, EncoderSpec
from transport.errors import UsageError
from writer.codecs import lerobot_options, resolve
from writer.depth import DepthConverter, quantize
from writer.encoder import CameraEncoder
from writer.episode import Packet, VideoTrack
from writer.errors import UnknownCodecError
from writer.mux import write_mp4
from writer.video_read import DEPTH, decode_all

SPECS = {
    "lerobot's": DepthEncoderSpec(),
    "linear": DepthEncoderSpec(use_log=False, depth_min=0.2, depth_max=3.0),
    "no shift": DepthEncoderSpec(shift=0.0, depth_min=0.05),
}


def lerobots(depth: np.ndarray, spec: DepthEncoderSpec) -> np.ndarray:
    scale = {name: getattr(spec, name) for name in ("depth_min", "depth_max", "shift", "use_log")}
    with np.errstate(divide="ignore", invalid="ignore"):
        codes: np.ndarray = quantize_depth(depth, **scale, video_backend=None)
    return codes


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_codes_are_lerobots(spec: DepthEncoderSpec, dtype: str) -> None:
    millimetres = np.arange(1, 1 << 16, dtype=np.uint16).reshape(-1, 5, 1)
    depth = millimetres if dtype == "uint16" else millimetres.astype(np.float32) / 1000
    codes = quantize(depth, spec)
    np.testing.assert_array_equal(codes[..., 0], lerobots(depth, spec))
    assert (codes.min(), codes.max()) == (0, 4095)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -1.0])
def test_what_is_no_depth_becomes_an_end_of_the_scale(value: float) -> None:
    (code,) = quantize(np.array([value], np.float32), SPECS["no shift"])
    assert code == (4095 if value == np.inf else 0)


def test_fields_and_options_are_lerobots() -> None:
    ours, theirs = DepthEncoderSpec(), DepthEncoderConfig()
    assert vars(ours) == vars(theirs)
    assert lerobot_options(ours) == theirs.get_codec_options(as_strings=True)
    assert (
        DatasetSpec.from_wire(DatasetSpec("a/b", 30, depth_encoder=SPECS["linear"]).to_wire()).depth_encoder
        == (SPECS["linear"])
    )


@pytest.mark.parametrize("size", [(128, 96), (130, 66)])
def test_a_video_holds_every_code(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    random = np.random.default_rng(1)
    maps = [random.integers(100, 12_000, (height, width, 1), dtype=np.uint16) for _ in range(12)]
    codec = resolve(DepthEncoderSpec())
    packets: list[Packet] = []
    headers: list[bytes] = []
    errors: list[Exception] = []
    lock = threading.Lock()

    def on_packets(key: str, extradata: bytes | None, new: Sequence[Packet]) -> None:
        with lock:
            packets.extend(new)
            headers.extend([] if extradata is None else [extradata])

    encoder = CameraEncoder("depth", on_packets, lambda key, error: errors.append(error))
    encoder.start(width, height, 30, codec)
    for index, depth in enumerate(maps):
        encoder.put(index, depth)
    encoder.flush()
    encoder.close()
    assert errors == []
    path = tmp_path / "depth.mp4"
    write_mp4(VideoTrack(codec.spec.vcodec, codec.pix_fmt, width, height, headers[0], packets), 30, path)
    decoded = [frame.picture for frame in decode_all(path, DEPTH)]
    assert len(decoded) == len(maps)
    for picture, depth in zip(decoded, maps, strict=True):
        np.testing.assert_array_equal(picture, quantize(depth[..., 0], DepthEncoderSpec()))


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        DepthConverter(4, 4, DepthEncoderSpec())(np.zeros((4, 4), np.uint16))


@pytest.mark.parametrize(
    "spec", [DepthEncoderSpec(pix_fmt="gray10le"), DepthEncoderSpec(vcodec="h264"), DepthEncoderSpec(vcodec="nope")]
)
def test_codecs_without_12_bits_are_refused_naming_the_flag(spec: EncoderSpec) -> None:
    with pytest.raises(UnknownCodecError, match=r"--dataset\.depth_encoder"):
        resolve(spec)


@pytest.mark.parametrize(
    "changes", [{"depth_min": 3, "depth_max": 2}, {"depth_min": 0, "shift": 0}, {"depth_max": float("nan")}]
)
def test_scales_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"depth_encoder\.depth_min"):
        DatasetSpec("a/b", 30, depth_encoder=DepthEncoderSpec(**changes))

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_pictures import assert_video, numbered, psnr

from transport.dataset_spec import DatasetSpec, EncoderSpec
from transport.records import EndReason, EpisodeEnded
from transport.schema import HWC, Kind, Schema, Stream
from writer.codecs import ResolvedCodec, resolve
from writer.encoder import CameraEncoder
from writer.episode import Packet, VideoTrack
from writer.errors import EncoderError, JournalError
from writer.journal import JournalHeader, JournalWriter, join, read_segment, to_finished
from writer.journal_join import decoding_times
from writer.mux import write_mp4

FPS = 30
KEY = "observation.images.front"

CODECS = {
    "h264": EncoderSpec(vcodec="h264", preset="ultrafast", crf=23),
    "hevc": EncoderSpec(vcodec="hevc", preset="ultrafast", crf=23),
    "libsvtav1": EncoderSpec(),
    "libaom-av1": EncoderSpec(vcodec="libaom-av1", crf=12, extra_options={"cpu-used": 8}),
    # What a user can ask for although it holds frames back and reorders them.
    "h264 with B-frames": EncoderSpec(vcodec="h264", g=8, crf=23, extra_options={"bf": 2, "tune": "film"}),
    "hevc with B-frames": EncoderSpec(
        vcodec="hevc", preset="ultrafast", g=8, crf=23, extra_options={"bf": 2, "tune": "fastdecode"}
    ),
}


class Collected:
    """What an encoder gave."""

    def __init__(self) -> None:
        self.extradata: bytes | None = None
        self.packets: list[Packet] = []
        self.errors: list[EncoderError] = []

    def on_packets(self, key: str, extradata: bytes | None, packets: list[Packet]) -> None:
        if extradata is not None:
            self.extradata = extradata
        self.packets += packets

    def on_error(self, key: str, error: EncoderError) -> None:
        self.errors.append(error)


def encode(codec: ResolvedCodec, first: int, end: int, size: tuple[int, int], camera: int = 0) -> Collected:
    """Frames first..end-1 through an encoder, and out of it."""
    collected = Collected()
    encoder = CameraEncoder(KEY, collected.on_packets, collected.on_error)
    encoder.start(*size, FPS, codec, first)
    for index in range(first, end):
        encoder.put(index, numbered(index, *size, camera))
    encoder.flush()
    encoder.close()
    assert not collected.errors
    return collected


def track(codec: ResolvedCodec, collected: Collected, size: tuple[int, int]) -> VideoTrack:
    assert collected.extradata is not None
    times = decoding_times([packet.pts for packet in collected.packets])
    packets = [replace(packet, dts=dts) for packet, dts in zip(collected.packets, times, strict=True)]
    return VideoTrack(codec.name, codec.pix_fmt, *size, collected.extradata, packets)


def assert_length(path: Path, frames: int) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.frames == frames
        assert float(stream.duration * stream.time_base) == pytest.approx(frames / FPS, abs=1e-4)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("frames", [1, 2, 9, 13])
def test_an_episode_decodes_to_its_frames_at_their_times(tmp_path: Path, name: str, frames: int) -> None:
    codec = resolve(CODECS[name])
    path = tmp_path / "video.mp4"
    write_mp4(track(codec, encode(codec, 0, frames, (96, 64)), (96, 64)), FPS, path)
    assert_video(path, frames, FPS, 96, 64)
    assert_length(path, frames)


@pytest.mark.parametrize("name", ["h264", "libsvtav1"])
def test_200_frames(tmp_path: Path, name: str) -> None:
    codec = resolve(CODECS[name])
    path = tmp_path / "video.mp4"
    write_mp4(track(codec, encode(codec, 0, 200, (160, 120)), (160, 120)), FPS, path)
    assert_video(path, 200, FPS, 160, 120)
    assert_length(path, 200)


@pytest.mark.parametrize("size", [(97, 64), (96, 65), (97, 65)])
@pytest.mark.parametrize(
    "spec",
    [
        EncoderSpec(),
        CODECS["libaom-av1"],
        EncoderSpec(vcodec="h264", pix_fmt="yuv444p"),
        EncoderSpec(vcodec="hevc", pix_fmt="yuv444p", preset="ultrafast"),
    ],
    ids=lambda spec: f"{spec.vcodec} {spec.pix_fmt}",
)
def test_odd_sizes_are_kept(tmp_path: Path, spec: EncoderSpec, size: tuple[int, int]) -> None:
    codec = resolve(replace(spec, crf=15))
    path = tmp_path / "video.mp4"
    write_mp4(track(codec, encode(codec, 0, 5, size), size), FPS, path)
    assert_video(path, 5, FPS, *size)


def test_heights_that_are_no_multiple_of_four(tmp_path: Path) -> None:
    codec = resolve(CODECS["h264"])
    write_mp4(track(codec, encode(codec, 0, 5, (98, 66)), (98, 66)), FPS, tmp_path / "video.mp4")
    assert_video(tmp_path / "video.mp4", 5, FPS, 98, 66)


SIZE = (96, 64)
CAMERAS = ("observation.images.left", "observation.images.right")
SCHEMA = Schema(
    (Stream("action", "float32", (2,)), *(Stream(key, "uint8", (64, 96, 3), Kind.VIDEO, HWC) for key in CAMERAS))
)


def row(index: int) -> bytes:
    value = np.zeros((), SCHEMA.row_dtype)
    value["action"] = index
    return value.tobytes()


def write_segment(
    folder: Path, codec: ResolvedCodec, number: int, first: int, end: int, kept: tuple[int, int] | None
) -> None:
    """A segment of frames first..end-1; killed when `kept` packets of each camera were written, or else finished."""
    header = JournalHeader(
        session_id="0" * 32,
        episode_id=3,
        task="stack",
        segment=number,
        first_frame_index=first,
        schema=SCHEMA.to_wire(),
        spec=DatasetSpec("owner/name", FPS, rgb_encoder=codec.spec).to_wire(),
        codec_options=dict(codec.options),
        began_seq=10,
    )
    journal = JournalWriter.create(folder / f"segment-{number:03d}.mcap", header)
    for index in range(first, end):
        journal.row(11 + index, index, row(index))
    for camera, key in enumerate(CAMERAS):
        collected = encode(codec, first, end, SIZE, camera)
        packets = collected.packets[: kept[camera]] if kept else collected.packets
        if packets:
            journal.extradata(key, collected.extradata or b"")
        for packet in packets:
            journal.packet(key, packet)
    if kept is None:
        journal.ended(11 + end, EpisodeEnded(3, end, EndReason.SUCCESS))
        journal.finish()
    else:
        journal.flush()
        journal.close()


@pytest.mark.parametrize("name", CODECS)
def test_an_episode_whose_writer_was_killed_again_and_again_is_whole(tmp_path: Path, name: str) -> None:
    codec = resolve(CODECS[name])
    chance = random.Random(name)
    total, number, durable = 40, 0, 0
    while number < 5:
        end = min(total, durable + chance.randrange(12))
        kept = (chance.randint(0, end - durable), chance.randint(0, end - durable))
        write_segment(tmp_path, codec, number, durable, end, kept)
        joined = join([read_segment(path) for path in sorted(tmp_path.glob("*.mcap"))])
        assert durable <= joined.durable_frames <= durable + min(kept)
        assert joined.durable_seq == 10 + joined.durable_frames
        number, durable = joined.next_segment, joined.durable_frames
    assert 0 < durable < total
    write_segment(tmp_path, codec, number, durable, total, None)
    finished = to_finished(join([read_segment(path) for path in sorted(tmp_path.glob("*.mcap"))]))
    assert finished.rows["action"][:, 0].tolist() == list(range(total))
    for camera, key in enumerate(CAMERAS):
        write_mp4(finished.videos[key], FPS, tmp_path / "video.mp4")
        assert_video(tmp_path / "video.mp4", total, FPS, *SIZE, camera)
        assert_length(tmp_path / "video.mp4", total)


@pytest.mark.parametrize("vcodec", ["h264", "hevc", "libsvtav1"])
@pytest.mark.parametrize("frames", [1, 2, 11])
def test_stock_lerobot_sees_the_video_that_its_own_encoder_writes(tmp_path: Path, vcodec: str, frames: int) -> None:
    import stock  # noqa: F401 - sets lerobot's environment before it is imported
    from lerobot.configs import RGBEncoderConfig
    from lerobot.datasets.video_utils import (
        decode_video_frames,
        encode_video_frames,
        get_video_duration_in_s,
        get_video_info,
    )
    from PIL import Image

    codec = resolve(EncoderSpec(vcodec=vcodec))
    ours, theirs = tmp_path / "ours.mp4", tmp_path / "theirs.mp4"
    write_mp4(track(codec, encode(codec, 0, frames, (128, 96)), (128, 96)), FPS, ours)
    for index in range(frames):
        Image.fromarray(numbered(index, 128, 96)).save(tmp_path / f"frame-{index:06d}.png")
    config = RGBEncoderConfig(vcodec=vcodec)
    encode_video_frames(tmp_path, theirs, FPS, config)

    assert get_video_info(ours, config) == get_video_info(theirs, config)
    assert get_video_duration_in_s(ours) == pytest.approx(frames / FPS, abs=1e-4)
    times = [index / FPS for index in range(frames)]
    our_frames, their_frames = (
        decode_video_frames(path, times, 1e-4, backend="pyav", return_uint8=True).numpy() for path in (ours, theirs)
    )
    for index in range(frames):
        assert psnr(our_frames[index], their_frames[index]) >= 30
    with av.open(str(ours)) as a, av.open(str(theirs)) as b:
        for name in ("time_base", "start_time", "frames", "average_rate"):
            assert getattr(a.streams.video[0], name) == getattr(b.streams.video[0], name), name
        for name in ("color_range", "colorspace", "color_primaries", "color_trc", "profile", "codec_tag"):
            mine, stock_value = (getattr(c.streams.video[0].codec_context, name) for c in (a, b))
            assert mine == stock_value, name
        for container in (a, b):
            keys = [round(p.pts * p.time_base * FPS) for p in container.demux(video=0) if p.is_keyframe and p.size]
            assert keys[0] == 0
            assert all(later - earlier <= 2 for earlier, later in pairwise([*keys, frames]))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    codec = resolve(CODECS["h264"])
    good = track(codec, encode(codec, 0, 4, SIZE), SIZE)
    for name, packets in {
        "none": [],
        "no key frame first": good.packets[1:],
        "a hole": [*good.packets[:2], good.packets[3]],
        "not of this codec": [replace(good.packets[0], data=b"\x00" * 100)],
    }.items():
        with pytest.raises(JournalError):
            write_mp4(replace(good, packets=packets), FPS, tmp_path / f"{name}.mp4")
    with pytest.raises(JournalError, match="expected 98x64"):
        write_mp4(replace(good, width=98), FPS, tmp_path / "size.mp4")

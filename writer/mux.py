"""Packets from the journal into an MP4 as LeRobot's own encoder path writes it, without encoding again."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import av

from writer.episode import Packet, VideoTrack
from writer.errors import JournalError

# Demuxers that find a codec's parameters in its bare packets, by the beginning of the encoder's name.
_RAW_FORMATS = {"h264": "h264", "hevc": "hevc", "libsvtav1": "obu", "libaom-av1": "obu"}


def write_mp4(track: VideoTrack, fps: int, path: Path) -> None:
    """Write the packets of one camera, frame k at k/fps, and wait until the file is on the disk.

    Args:
        track: one packet per frame in decoding order, the first a key frame, none presented before it is decoded.
        path: the file to make; an existing one is replaced. Its directory is the caller's to fsync.

    Raises:
        JournalError: the packets are not a video that can be decoded alone.
        OSError: the disk does not take it.
    """
    if not track.packets or not track.packets[0].is_key:
        raise JournalError(f"{path.name}: a video begins with a key frame, {len(track.packets)} packets found")
    tick = Fraction(1, fps)
    pts: set[int] = set()
    last_dts = track.packets[0].dts - 1
    with _parameters(track) as source, av.open(str(path), "w", format="mp4") as target:
        template = source.streams.video[0]
        found = (template.width, template.height, template.pix_fmt)
        if found != (track.width, track.height, track.pix_fmt):
            raise JournalError(f"{path.name}: packets of {found} found, expected {track.width}x{track.height}")
        # Opaque: the stream carries the packets' codec, no encoder for it has to exist here.
        stream = target.add_stream_from_template(template, opaque=True)
        stream.time_base = tick
        for packet in track.packets:
            if not last_dts < packet.dts <= packet.pts:
                raise JournalError(f"{path.name}: frame {packet.pts} is decoded at {packet.dts}, after {last_dts}")
            last_dts = packet.dts
            pts.add(packet.pts)
            target.mux(_muxable(packet, stream, tick))
    if pts != set(range(len(track.packets))):
        raise JournalError(f"{path.name}: {len(track.packets)} packets are not those of the frames from 0 on")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _parameters(track: VideoTrack) -> av.container.InputContainer:
    """The first packet as a bare stream: what it is, its size and pixel format are read from itself."""
    raw_format = _RAW_FORMATS.get(track.codec_name.partition("_")[0])
    if raw_format is None:
        raise JournalError(f"codec {track.codec_name} found, expected one of {', '.join(_RAW_FORMATS)}")
    # An AV1 key frame repeats the codec's global header; the others carry it only there.
    head = b"" if raw_format == "obu" else track.extradata
    try:
        return av.open(io.BytesIO(head + track.packets[0].data), format=raw_format)
    except (av.FFmpegError, IndexError) as error:
        raise JournalError(f"the first packet is not {track.codec_name} ({error}); keep the journal") from error


def _muxable(packet: Packet, stream: av.VideoStream, tick: Fraction) -> av.Packet:
    muxable = av.Packet(packet.data)
    muxable.pts, muxable.dts, muxable.duration = packet.pts, packet.dts, 1
    muxable.time_base = tick
    muxable.is_keyframe = packet.is_key
    muxable.stream = stream
    return muxable

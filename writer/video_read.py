"""Read committed videos back: count packets, list timestamps, decode chosen frames exactly.

No lerobot and no torch, so that `onbeat verify` starts at once. PyAV's own errors (`av.FFmpegError`) pass through: only
the caller knows which episode the file belongs to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

RGB = "rgb24"
DEPTH = "gray12le"


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video file says of itself; `codec` is the canonical name, `av1` for every AV1 encoder."""

    codec: str
    pix_fmt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One decoded picture.

    Attributes:
        time_s: presentation time.
        picture: shape (height, width, 3) uint8, for depth (height, width) uint16; None when only times were asked for.
    """

    time_s: float
    picture: NDArray[Any] | None


def video_facts(path: Path) -> VideoFacts:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return VideoFacts(stream.codec.canonical_name, stream.pix_fmt, stream.width, stream.height)


def demux_count(path: Path) -> int:
    """The number of video packets in the file; nothing is decoded."""
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)


def decode_all(path: Path, pixel_format: str | None = None) -> Iterator[DecodedFrame]:
    """Every frame in presentation order; pictures only if a pixel format is given."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            picture = frame.to_ndarray(format=pixel_format) if pixel_format else None
            yield DecodedFrame(float(frame.pts * stream.time_base), picture)


def frame_timestamps(path: Path) -> list[float]:
    """The times in seconds of all frames that decode, in presentation order."""
    return [frame.time_s for frame in decode_all(path)]


def decode_frames(
    path: Path, indices: Sequence[int], fps: float, pixel_format: str = RGB
) -> Iterator[NDArray[np.uint8] | NDArray[np.uint16]]:
    """The frames at the times `index / fps`, in the order of `indices`, which must not decrease.

    Decodes on where the frames lie close together and seeks where a key frame lies between the last frame decoded and
    the next one wanted.

    Raises:
        LookupError: no frame of the file has the time of a wanted index.
    """
    wanted = list(indices)
    if any(later < earlier for earlier, later in pairwise(wanted)):
        raise ValueError("indices of frames to decode must not decrease")
    keys = _key_frame_indices(path, fps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        frames = container.decode(stream)
        position, picture = -1, None
        for index in wanted:
            key = keys[bisect_right(keys, index) - 1] if keys and keys[0] <= index else 0
            if key > position + 1:
                container.seek(round(key / fps / stream.time_base), stream=stream, backward=True)
                frames = container.decode(stream)
            while position < index:
                frame = next(frames, None)
                if frame is None:
                    raise LookupError(f"{path} ends before frame {index}")
                position = round(float(frame.pts * stream.time_base) * fps)
                picture = frame.to_ndarray(format=pixel_format) if position == index else None
            if picture is None:
                raise LookupError(f"{path} has no frame {index}")
            yield picture


def _key_frame_indices(path: Path, fps: float) -> list[int]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(
            round(float(packet.pts * stream.time_base) * fps)
            for packet in container.demux(stream)
            if packet.size and packet.is_keyframe
        )

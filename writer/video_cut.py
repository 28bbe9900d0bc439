"""The first frames of a video file as a file of their own, nothing encoded again."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av


def cut_video(source: Path, frames: int, target: Path) -> None:
    """Copy the packets of the first `frames` frames in decoding order; they decode alone if an episode ends there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as reader, av.open(str(target), "w", format="mp4") as writer:
        origin = reader.streams.video[0]
        stream = writer.add_stream_from_template(origin, opaque=True)
        stream.time_base = origin.time_base
        # The demuxer ends with an empty packet that has no times.
        for packet in islice((found for found in reader.demux(origin) if found.size), frames):
            packet.stream = stream
            writer.mux(packet)

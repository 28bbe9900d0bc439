"""An episode as the journal holds it and the committer takes it: rows, encoded packets, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transport.dataset_spec import DatasetSpec
from transport.records import EndReason
from transport.schema import Schema
from writer.encode_cost import EncodeRun


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded packet of one camera.

    Attributes:
        pts, dts: in ticks of 1/fps; `pts` is the frame's index in the episode.
        is_key: decoding can start here.
        data: the packet as the encoder gave it.
    """

    pts: int
    dts: int
    is_key: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The packets of one camera in decoding order, from all segments, exactly one per frame of the episode.

    Attributes:
        extradata: the codec's global header (SPS/PPS, av1C), the same for every segment.
        codec_name: the name of the encoder, for example `h264` or `libsvtav1`.
    """

    codec_name: str
    pix_fmt: str
    width: int
    height: int
    extradata: bytes
    packets: Sequence[Packet]


@dataclass(frozen=True, slots=True)
class FinishedEpisode:
    """An ended episode, whole, ready to be committed.

    Attributes:
        session_id: 32 hexadecimal digits.
        episode_id: the session's own count from 0.
        spec: the dataset; `spec.rgb_encoder.vcodec` is never "auto" here.
        codec_options: what the encoder was really opened with, beyond LeRobot's own options; goes to the sidecar.
        rows: shape (frames,), dtype `schema.row_dtype`.
        videos: one track per picture stream of the schema.
        reason, detail: why it ended, and one line for people.
        encode_runs: what encoding it cost, as far as it is known.
    """

    session_id: str
    episode_id: int
    task: str
    schema: Schema
    spec: DatasetSpec
    rows: NDArray[np.void]
    videos: Mapping[str, VideoTrack]
    reason: EndReason
    detail: str = ""
    codec_options: Mapping[str, str] = field(default_factory=dict)
    encode_runs: Sequence[EncodeRun] = ()

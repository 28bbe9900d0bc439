"""Rows and packets of a made-up episode, for tests of the journal."""

from __future__ import annotations

import random

import numpy as np

from transport.dataset_spec import DatasetSpec, EncoderSpec
from transport.records import EndReason, EpisodeEnded, Judgement, Verdict
from transport.schema import HWC, Kind, Schema, Stream
from writer.episode import Packet
from writer.journal import JournalHeader

CAMERAS = ("observation.images.left", "observation.images.right")
SCHEMA = Schema(
    (
        Stream("action", "float32", (4,)),
        Stream("next.done", "bool", (1,)),
        *(Stream(key, "uint8", (48, 64, 3), Kind.VIDEO, HWC) for key in CAMERAS),
    )
)
SPEC = DatasetSpec("owner/name", 30, rgb_encoder=EncoderSpec(vcodec="h264"))
HEADER = JournalHeader(
    session_id="ab" * 16,
    episode_id=4,
    task="put the cube on the plate",
    segment=0,
    first_frame_index=0,
    schema=SCHEMA.to_wire(),
    spec=SPEC.to_wire(),
    codec_options={"tune": "zerolatency"},
    began_seq=100,
)
ENDED = EpisodeEnded(4, 12, EndReason.SUCCESS, "by the operator")
VERDICT = Verdict(4, Judgement.KEEP)


def row(index: int) -> bytes:
    value = np.zeros((), SCHEMA.row_dtype)
    value["action"] = index
    value["onbeat.scheduled_ns"] = index * 1000
    return value.tobytes()


def packet(camera: str, pts: int, *, first: int = 0, dts: int | None = None) -> Packet:
    noise = random.Random(f"{camera} {pts}")
    return Packet(pts, pts if dts is None else dts, pts == first, noise.randbytes(noise.randrange(20, 90)))

"""What the journal's writer and reader share: topics, payloads, and the header of a segment."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from transport.dataset_spec import DatasetSpec
from transport.errors import OnbeatError
from transport.schema import Schema
from writer.errors import JournalError

VERSION = 1
HEADER_TOPIC, ROWS_TOPIC, EVENTS_TOPIC = "/header", "/rows", "/events"
VIDEO_TOPIC, EXTRADATA_TOPIC = "/video/", "/extradata/"

SEQ = struct.Struct("<Q")
EVENT = struct.Struct("<QB")
PACKET = struct.Struct("<qqB")

# The names under which foreign readers find what a payload is; the encodings are ours, so they are marked as such.
HEADER_ENCODING, ROW_ENCODING, EVENT_ENCODING = "json", "x-onbeat-row", "x-onbeat-event"
PACKET_ENCODING, EXTRADATA_ENCODING = "x-onbeat-packet", "x-onbeat-extradata"


@dataclass(frozen=True)
class JournalHeader:
    """What a segment belongs to.

    Attributes:
        session_id: 32 hexadecimal digits.
        segment: counts the segments of the episode from 0.
        first_frame_index: the frame that every camera's encoder of this segment begins with.
        schema, spec: as `Schema.to_wire` and `DatasetSpec.to_wire` give them.
        codec_options: what the encoders were really opened with.
        began_seq: sequence number of the episode's first record, when the segment was opened by it.
    """

    session_id: str
    episode_id: int
    task: str
    segment: int
    first_frame_index: int
    schema: Mapping[str, Any]
    spec: Mapping[str, Any]
    codec_options: Mapping[str, str] = field(default_factory=dict)
    began_seq: int | None = None

    @cached_property
    def typed_schema(self) -> Schema:
        return Schema.from_wire(self.schema)

    @cached_property
    def typed_spec(self) -> DatasetSpec:
        return DatasetSpec.from_wire(self.spec)

    def pack(self) -> bytes:
        return json.dumps({"version": VERSION, **asdict(self)}).encode()

    @classmethod
    def unpack(cls, data: bytes) -> JournalHeader:
        """Read what `pack` wrote.

        Raises:
            JournalError: it is of another version, or not a header.
        """
        try:
            value = json.loads(data)
            version = value.pop("version")
            if version != VERSION:
                raise JournalError(f"journal version {version} found, expected {VERSION}; use the onbeat that wrote it")
            header = cls(**value)
            numbers = (header.episode_id, header.segment, header.first_frame_index, header.began_seq or 0)
            if set(value) != {f.name for f in fields(cls)} or any(type(n) is not int or n < 0 for n in numbers):
                raise JournalError("not a journal's header: fields are missing, or numbers are below zero")
            _ = header.typed_schema, header.typed_spec
        except (OnbeatError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise (
                error if isinstance(error, JournalError) else JournalError(f"not a journal's header: {error}")
            ) from error
        return header


def row_dtype(schema: Schema) -> np.dtype[np.void]:
    """A payload of the topic `/rows` as one packed numpy record."""
    columns = [(stream.key, stream.dtype, stream.shape) for stream in (*schema.rows, *schema.sidecar)]
    return np.dtype([("onbeat.seq", "<u8"), *columns])


def frame_time_ns(frame_index: int, fps: int) -> int:
    return max(frame_index, 0) * 1_000_000_000 // fps

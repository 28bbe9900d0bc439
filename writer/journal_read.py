"""Read a journal segment up to the first byte that is not as it was written.

A segment may end anywhere (its writer was killed), its tail may be zeros (a power cut), any bit may have flipped. Only
the plain sequence that `JournalWriter` writes is taken: the file's opening, then chunks, each with the CRC it names.
Everything behind the first deviation is left, so what is returned is always a prefix of what was appended.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel

from transport.errors import CodecError
from transport.records import EpisodeEnded, Verdict, unpack_event
from writer.errors import JournalError
from writer.journal_format import (
    EVENT,
    EVENTS_TOPIC,
    EXTRADATA_TOPIC,
    HEADER_TOPIC,
    PACKET,
    ROWS_TOPIC,
    SEQ,
    VIDEO_TOPIC,
    JournalHeader,
    row_dtype,
)

_MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQII")
_MESSAGE = struct.Struct("<HIQQ")


class Row(NamedTuple):
    """A frame's packed row."""

    seq: int
    frame_index: int
    data: bytes


class PacketRef(NamedTuple):
    """A packet that stays in its file until it is asked for; an episode's packets may not fit in memory."""

    pts: int
    dts: int
    is_key: bool
    path: Path
    offset: int
    size: int


@dataclass
class Segment:
    """The undamaged prefix of a segment.

    Attributes:
        packets: of each camera, in decoding order.
        extradata: of each camera whose encoder has given packets.
        ended, verdict: with their sequence numbers, if they were appended.
        finished: the file was closed in order, with its index.
        valid_bytes: up to where the file is as it was written.
        damage: why reading stopped there, in words; empty if nothing follows.
        torn: the file ends before what was begun there, as a kill leaves it.
    """

    path: Path
    header: JournalHeader
    rows: list[Row] = field(default_factory=list)
    packets: dict[str, list[PacketRef]] = field(default_factory=dict)
    extradata: dict[str, bytes] = field(default_factory=dict)
    ended: tuple[int, EpisodeEnded] | None = None
    verdict: tuple[int, Verdict] | None = None
    finished: bool = False
    valid_bytes: int = 0
    damage: str = ""
    torn: bool = False


class _Damage(Exception):
    """The bytes deviate from what a journal writes; the message says how."""


class _Torn(_Damage):
    """They end too early."""


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    sequence: int
    data: bytes
    offset: int


def read_segment(path: Path) -> Segment:
    """Read the undamaged prefix of a segment.

    Raises:
        JournalError: not even the header is whole, or it is not one of ours.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        chunks = _chunks(file, path)
        channels: dict[int, str] = {}
        try:
            offset, records, end = next(chunks)
            first, *rest = _messages(records, offset, channels)
            if first.topic != HEADER_TOPIC:
                raise _Damage("the first message is not the header")
        except (_Damage, StopIteration, ValueError) as error:
            raise JournalError(
                f"{path} is not a journal with a whole header ({str(error) or 'it ends early'}); move it away"
            ) from error
        segment = Segment(path, JournalHeader.unpack(first.data))
        schema = segment.header.typed_schema
        segment.packets = {stream.key: [] for stream in schema.pictures}
        row_bytes = row_dtype(schema).itemsize
        try:
            _take(segment, rest, row_bytes)
            segment.valid_bytes = end
            for offset, records, end in chunks:
                _take(segment, list(_messages(records, offset, channels)), row_bytes)
                segment.valid_bytes = end
            file.seek(-len(_MAGIC), os.SEEK_END)
            segment.finished = file.read() == _MAGIC and segment.valid_bytes < file.tell()
        except _Damage as damage:
            segment.damage, segment.torn = str(damage), isinstance(damage, _Torn)
    return segment


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Offset and bytes of the records of every chunk, and the offset of its end; returns where the data end."""
    size = os.fstat(file.fileno()).st_size
    if file.read(len(_MAGIC)) != _MAGIC:
        raise _Damage("the file does not begin as an MCAP file")
    opcode, _ = _record(file, size, "opening")
    if opcode != Opcode.HEADER:
        raise _Damage("the file does not open with an MCAP header")
    while True:
        start = file.tell()
        if start == size:
            return
        opcode, body = _record(file, size, f"record at {start}")
        if opcode == Opcode.DATA_END:
            return
        if opcode != Opcode.CHUNK:
            raise _Damage(f"a record of kind {opcode} at byte {start} of {size}, expected a chunk")
        # MCAP: start time, end time, uncompressed size, CRC, then compression and records, each behind its length.
        if len(body) < _CHUNK.size + 8:
            raise _Damage(f"the chunk at byte {start} of {size} is too short")
        _, _, uncompressed, crc, compression = _CHUNK.unpack_from(body)
        (length,) = struct.unpack_from("<Q", body, _CHUNK.size)
        records = body[_CHUNK.size + 8 :]
        if compression or not length == uncompressed == len(records) or crc != zlib.crc32(records):
            raise _Damage(f"the chunk at byte {start} of {size} fails its check")
        yield start + _RECORD.size + _CHUNK.size + 8, records, file.tell()


def _record(file: BinaryIO, size: int, what: str) -> tuple[int, bytes]:
    head = file.read(_RECORD.size)
    if len(head) < _RECORD.size:
        raise _Torn(f"the {what} is torn")
    opcode, length = _RECORD.unpack(head)
    # Before anything is allocated: a flipped bit can make a length of exabytes.
    if length > size - file.tell():
        raise _Torn(f"the {what} is torn")
    return opcode, file.read(length)


def _messages(records: bytes, offset: int, channels: dict[int, str]) -> Iterator[_Message]:
    """The messages of a chunk; channels that it declares are added to `channels`."""
    position = 0
    while position < len(records):
        try:
            opcode, length = _RECORD.unpack_from(records, position)
            body = position + _RECORD.size
            position = body + length
            if position > len(records):
                raise _Damage("a chunk's record goes beyond the chunk")
            if opcode == Opcode.CHANNEL:
                channel = Channel.read(ReadDataStream(BytesIO(records[body:position])))
                channels[channel.id] = channel.topic
            elif opcode == Opcode.MESSAGE:
                channel_id, sequence, _, _ = _MESSAGE.unpack_from(records, body)
                data = records[body + _MESSAGE.size : position]
                yield _Message(channels[channel_id], sequence, data, offset + body + _MESSAGE.size)
        except (struct.error, KeyError, ValueError, McapError) as error:
            raise _Damage(f"a chunk holds what no journal writes: {error}") from error


def _take(segment: Segment, messages: list[_Message], row_bytes: int) -> None:
    for message in messages:
        topic, data = message.topic, message.data
        try:
            if topic == ROWS_TOPIC:
                if len(data) != row_bytes:
                    raise _Damage(f"a row of {len(data)} bytes, expected {row_bytes}")
                (seq,) = SEQ.unpack_from(data)
                segment.rows.append(Row(seq, message.sequence, data[SEQ.size :]))
            elif topic.startswith(VIDEO_TOPIC):
                pts, dts, is_key = PACKET.unpack_from(data)
                ref = PacketRef(
                    pts, dts, bool(is_key), segment.path, message.offset + PACKET.size, len(data) - PACKET.size
                )
                segment.packets[topic.removeprefix(VIDEO_TOPIC)].append(ref)
            elif topic.startswith(EXTRADATA_TOPIC):
                segment.extradata[topic.removeprefix(EXTRADATA_TOPIC)] = data
            elif topic == EVENTS_TOPIC:
                _take_event(segment, data)
        except (struct.error, KeyError, CodecError) as error:
            raise _Damage(f"a chunk holds what no journal writes: {error}") from error


def _take_event(segment: Segment, data: bytes) -> None:
    seq, kind = EVENT.unpack_from(data)
    event = unpack_event(kind, data[EVENT.size :])
    if isinstance(event, EpisodeEnded):
        segment.ended = (seq, event)
    elif isinstance(event, Verdict):
        segment.verdict = (seq, event)
    else:
        raise _Damage(f"an event of kind {kind}, which journals do not hold")

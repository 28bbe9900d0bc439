"""The bytes of a spill file. `docs/failures.md` has the same in prose.

A file is a header and records behind each other, nothing between them, everything little-endian:

    header   magic "ONBEATSP", u32 version, u32 length, u32 crc32 of what follows; then a msgpack map with
             session_id, first_seq and schema
    record   u32 magic, u32 kind, u64 seq, u64 episode id, u64 frame index, u32 number of parts;
             for each part u32 length and u32 crc32; u32 crc32 of all of that; then the parts

The parts are those that cross the network (transport/wire.py), so that a record is read back without converting it.
A record's own header has a CRC of its own: lengths are believed only after it, and a torn tail ends the file there.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgpack

from transport.checksum import crc32
from transport.errors import CodecError, SchemaError
from transport.records import RecordKind
from transport.schema import Schema

MAGIC = b"ONBEATSP"
VERSION = 1
_FILE = struct.Struct("<8sIII")
_MAX_FILE_HEADER_BYTES = 1 << 20
_RECORD = struct.Struct("<4sIQQQI")
_RECORD_MAGIC = b"REC1"
_PART = struct.Struct("<II")
_CRC = struct.Struct("<I")
_MAX_PARTS = 1025
# Headers of records with as many are read at once, others twice.
_USUAL_PARTS = 16


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a spill file says about itself."""

    session_id: str
    first_seq: int
    schema: Schema

    def pack(self) -> bytes:
        body = msgpack.packb(
            {"session_id": self.session_id, "first_seq": self.first_seq, "schema": self.schema.to_wire()}
        )
        return _FILE.pack(MAGIC, VERSION, len(body), crc32(body)) + body

    @classmethod
    def read(cls, fd: int) -> tuple[FileHeader, int]:
        """The header of an open file, and where the first record begins.

        Raises:
            CodecError: it is not a spill file of this version, or its header is damaged.
        """
        start = os.pread(fd, _FILE.size, 0)
        if len(start) < _FILE.size or start[: len(MAGIC)] != MAGIC:
            raise CodecError("not a spill file: it does not begin with ONBEATSP")
        _, version, length, crc = _FILE.unpack(start)
        if version != VERSION:
            raise CodecError(f"spill file version {version} found, expected {VERSION}; use the onbeat that wrote it")
        if length > _MAX_FILE_HEADER_BYTES:
            raise CodecError(f"a spill file header of {length} bytes found, expected at most {_MAX_FILE_HEADER_BYTES}")
        body = os.pread(fd, length, _FILE.size)
        if len(body) != length or crc32(body) != crc:
            raise CodecError("the header of the spill file is damaged")
        try:
            values = msgpack.unpackb(body)
            header = cls(str(values["session_id"]), int(values["first_seq"]), Schema.from_wire(values["schema"]))
        except (KeyError, TypeError, ValueError, msgpack.exceptions.UnpackException, SchemaError) as error:
            raise CodecError(f"the header of the spill file is of another form: {error}") from error
        return header, _FILE.size + length


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What stands before a record's parts.

    Attributes:
        lengths, crcs: of each part.
    """

    kind: RecordKind
    seq: int
    episode_id: int
    frame_index: int
    lengths: tuple[int, ...]
    crcs: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Of the header itself."""
        return header_bytes(len(self.lengths))

    @property
    def payload_bytes(self) -> int:
        return sum(self.lengths)

    def pack(self) -> bytes:
        fixed = _RECORD.pack(_RECORD_MAGIC, self.kind, self.seq, self.episode_id, self.frame_index, len(self.lengths))
        data = fixed + b"".join(_PART.pack(n, crc) for n, crc in zip(self.lengths, self.crcs, strict=True))
        return data + _CRC.pack(crc32(data))

    @classmethod
    def unpack(cls, data: bytes) -> RecordHeader:
        """Read a header from the beginning of `data`, which may be longer.

        Raises:
            CodecError: it is cut, damaged, or no record.
        """
        if len(data) < _RECORD.size or data[:4] != _RECORD_MAGIC:
            raise CodecError("no record of a spill file begins here")
        _, kind, seq, episode_id, frame_index, count = _RECORD.unpack_from(data)
        end = header_bytes(count) - _CRC.size
        if count > _MAX_PARTS or len(data) < end + _CRC.size or _CRC.unpack_from(data, end)[0] != crc32(data[:end]):
            raise CodecError(f"the header of record {seq} is damaged")
        parts = list(_PART.iter_unpack(data[_RECORD.size : end]))
        lengths, crcs = tuple(n for n, _ in parts), tuple(crc for _, crc in parts)
        try:
            return cls(RecordKind(kind), seq, episode_id, frame_index, lengths, crcs)
        except ValueError as error:
            raise CodecError(f"record {seq} is of kind {kind}, which this version does not know") from error


@dataclass(frozen=True, slots=True)
class SpilledRecord:
    """A record with its parts, whole by their CRCs."""

    header: RecordHeader
    parts: Sequence[memoryview]


def header_bytes(parts: int) -> int:
    """Bytes of a record's header with so many parts."""
    return _RECORD.size + parts * _PART.size + _CRC.size


def is_other_version(fd: int) -> bool:
    """Whether an open file is a spill file that another version wrote."""
    start = os.pread(fd, _FILE.size, 0)
    return len(start) == _FILE.size and start[: len(MAGIC)] == MAGIC and _FILE.unpack(start)[1] != VERSION


def next_header(fd: int, offset: int, size: int) -> int:
    """Where the next record that has a whole header begins, from `offset` on; `size` if there is none."""
    if size == 0:
        return 0
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as data:
        while (offset := data.find(_RECORD_MAGIC, offset)) >= 0:
            try:
                read_header(fd, offset, size)
            except CodecError:
                offset += 1
            else:
                return offset
    return size


def read_header(fd: int, offset: int, size: int) -> RecordHeader:
    """The header of the record at `offset` of a file of `size` bytes.

    Raises:
        CodecError: it is damaged, or its parts reach beyond the end of the file.
    """
    data = os.pread(fd, header_bytes(_USUAL_PARTS), offset)
    if len(data) >= _RECORD.size and _USUAL_PARTS < (count := _RECORD.unpack_from(data)[-1]) <= _MAX_PARTS:
        data = os.pread(fd, header_bytes(count), offset)
    header = RecordHeader.unpack(data)
    if offset + header.nbytes + header.payload_bytes > size:
        raise CodecError(f"record {header.seq} is cut: {header.payload_bytes} bytes expected")
    return header


def read_record(fd: int, offset: int, size: int) -> SpilledRecord:
    """The record at `offset`, checked.

    Raises:
        CodecError: as `read_header`, or a part does not match its CRC.
    """
    header = read_header(fd, offset, size)
    data = memoryview(bytearray(header.payload_bytes))
    done = 0
    while done < len(data):
        count = os.preadv(fd, [data[done:]], offset + header.nbytes + done)
        if count == 0:
            raise CodecError(f"record {header.seq} is cut")
        done += count
    found, start = [], 0
    for length, crc in zip(header.lengths, header.crcs, strict=True):
        part = data[start : start + length]
        if crc32(part) != crc:
            raise CodecError(f"record {header.seq} is damaged on disk")
        found.append(part)
        start += length
    return SpilledRecord(header, found)

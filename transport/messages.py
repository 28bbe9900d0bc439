"""The messages between publisher and writer. `docs/protocol.md` is the same in prose.

A message is a ZeroMQ multipart message: part 0 is a msgpack array that begins with the opcode, followed by the array's
zlib.crc32; the further parts are a DATA's record or a PROBE's filler. Nothing here builds an object from a name in a
message, and every field is checked for type, sign and size before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum, StrEnum
from typing import Any, ClassVar, NoReturn, get_args, get_origin, get_type_hints
from zlib import crc32

import msgpack

from transport.errors import CodecError
from transport.records import MAX_TEXT_BYTES, fitting

PROTOCOL = 1
MAX_HEADER_BYTES = 1 << 20
_MAX_NUMBER = 1 << 63
# msgpack readers may allocate what an array claims to hold before they have seen it, once for every level of nesting.
_MAX_ARRAY = 4096
_CRC_BYTES = 4


class Opcode(IntEnum):
    HELLO = 1
    HEAD = 2
    DATA = 3
    GAP = 4
    BYE = 5
    PROBE = 6
    WELCOME = 16
    REFUSED = 17
    FETCH = 18
    EPISODE = 19
    STATUS = 20
    PROBED = 21
    UPLOAD = 22


@dataclass(frozen=True, slots=True)
class Hello:
    """publisher → writer: who I am and what will be recorded."""

    opcode: ClassVar[Opcode] = Opcode.HELLO
    protocol: int
    session_id: str
    epoch: int
    schema: dict[str, Any]
    dataset: dict[str, Any]
    owner: str


@dataclass(frozen=True, slots=True)
class Head:
    """publisher → writer, four times a second: the newest record there is, and how far I have sent.

    Whatever came before it on the connection and was not received is lost: `next_seq` is the record that the publisher
    sends next under `generation`.
    """

    opcode: ClassVar[Opcode] = Opcode.HEAD
    epoch: int
    generation: int
    next_seq: int
    head_seq: int


@dataclass(frozen=True, slots=True)
class Data:
    """publisher → writer: one record. `crcs` has the zlib.crc32 of each further part."""

    opcode: ClassVar[Opcode] = Opcode.DATA
    epoch: int
    generation: int
    seq: int
    kind: int
    episode_id: int
    frame_index: int
    head_seq: int
    crcs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """publisher → writer: the records first..last were asked for and are gone."""

    opcode: ClassVar[Opcode] = Opcode.GAP
    epoch: int
    generation: int
    first_seq: int
    last_seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bye:
    """publisher → writer: the session is over and I have seen that everything is done."""

    opcode: ClassVar[Opcode] = Opcode.BYE
    epoch: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """writer → publisher: the session is accepted; `durable_seq` is the newest record that is safe on disk."""

    opcode: ClassVar[Opcode] = Opcode.WELCOME
    epoch: int
    durable_seq: int
    dataset_root: str


@dataclass(frozen=True, slots=True)
class Refused:
    """writer → publisher: no, and why; the text is one line for people."""

    opcode: ClassVar[Opcode] = Opcode.REFUSED
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """writer → publisher: send records from `from_seq` on, at most `max_bytes` beyond what I have received.

    A greater `generation` than before rewinds to `from_seq`; the same one only moves the window.
    """

    opcode: ClassVar[Opcode] = Opcode.FETCH
    epoch: int
    generation: int
    from_seq: int
    max_bytes: int
    durable_seq: int


@dataclass(frozen=True, slots=True)
class Episode:
    """writer → publisher: an episode's final state.

    `index` is the dataset's, or -1; `missing` counts rows without a packet in the committed files, over all cameras.
    """

    opcode: ClassVar[Opcode] = Opcode.EPISODE
    epoch: int
    episode_id: int
    state: str
    index: int
    frames: int
    missing: int
    detail: str


@dataclass(frozen=True, slots=True)
class Status:
    """writer → publisher, at least four times a second: signs of life, and figures for the operator."""

    opcode: ClassVar[Opcode] = Opcode.STATUS
    epoch: int
    received_seq: int
    durable_seq: int
    committing: int
    disk_free_bytes: int
    finished: bool
    warning: str


@dataclass(frozen=True, slots=True)
class Probe:
    """publisher → writer: filler in one further part, to measure the link before the first episode."""

    opcode: ClassVar[Opcode] = Opcode.PROBE
    epoch: int


@dataclass(frozen=True, slots=True)
class Probed:
    """writer → publisher: the answer to each PROBE; how many bytes of filler have come on this connection."""

    opcode: ClassVar[Opcode] = Opcode.PROBED
    epoch: int
    received_bytes: int


class UploadState(StrEnum):
    """How far the upload to the Hub is."""

    WAITING = "waiting"  # the session is not over; `detail` is a warning, or empty
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Upload:
    """writer → publisher, with every STATUS of a session that is to be uploaded; `detail` is one line for people."""

    opcode: ClassVar[Opcode] = Opcode.UPLOAD
    epoch: int
    state: str
    detail: str

    @property
    def settled(self) -> bool:
        """Whether it will not change any more."""
        return self.state in (UploadState.UPLOADED, UploadState.FAILED, UploadState.SKIPPED)


def _types(message: type) -> tuple[type, ...]:
    """What each field of a message is when msgpack has read it: its annotation, without what is inside."""
    hints = get_type_hints(message)
    return tuple(get_origin(hints[field.name]) or hints[field.name] for field in fields(message))


Message = Hello | Head | Data | Gap | Bye | Probe | Welcome | Refused | Fetch | Episode | Status | Probed | Upload
_FIELDS: dict[type, tuple[type, ...]] = {message: _types(message) for message in get_args(Message)}
_MESSAGES: dict[int, Any] = {message.opcode: message for message in _FIELDS}  # type: ignore[attr-defined]


def pack(message: Message) -> bytes:
    """Part 0 of a message. Text for people is shortened to MAX_TEXT_BYTES: it must not keep a message from arriving."""
    values = (getattr(message, name) for name in message.__slots__)
    array = (int(message.opcode), *(fitting(value) if type(value) is str else value for value in values))
    packed: bytes = msgpack.packb(array)
    return packed + crc32(packed).to_bytes(_CRC_BYTES, "little")


def unpack(data: bytes | memoryview) -> Message:
    """Read part 0 of a message.

    Raises:
        CodecError: too long, damaged, not msgpack, an unknown opcode, or fields of another number, type, size or sign.
    """
    if len(data) > MAX_HEADER_BYTES:
        raise CodecError(f"a message header of {len(data)} bytes found, expected at most {MAX_HEADER_BYTES}")
    body, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(data) <= _CRC_BYTES or crc32(body) != int.from_bytes(crc, "little"):
        raise CodecError(f"a message header of {len(data)} bytes is damaged")
    try:
        values = msgpack.unpackb(
            body, use_list=False, strict_map_key=True, max_array_len=_MAX_ARRAY, max_ext_len=0, ext_hook=_no_extension
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise CodecError(f"a message header of {len(data)} bytes is not msgpack: {type(error).__name__}") from error
    if not isinstance(values, tuple) or not values or type(values[0]) is not int or values[0] not in _MESSAGES:
        raise CodecError("a message header is an array that begins with a known opcode")
    kind = _MESSAGES[values[0]]
    types = _FIELDS[kind]
    found = values[1:]
    if tuple(map(type, found)) != types:
        raise CodecError(f"{kind.opcode.name} has fields {[t.__name__ for t in types]}")
    for value in found:
        if type(value) is int and not -1 <= value < _MAX_NUMBER:
            raise CodecError(f"{kind.opcode.name} holds the number {value}, out of range")
        if type(value) is str and len(value) > MAX_TEXT_BYTES:
            raise CodecError(f"{kind.opcode.name} holds a text of {len(value)} characters, over {MAX_TEXT_BYTES}")
        if type(value) is tuple and not all(type(crc) is int and 0 <= crc < 1 << 32 for crc in value):
            raise CodecError(f"{kind.opcode.name} holds CRCs that are not 32-bit numbers")
    message: Message = kind(*found)
    return message


def _no_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError("msgpack extensions are not part of the protocol")

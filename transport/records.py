"""The records of the session log: what happened, in order.

A session is a sequence of records, each with the next sequence number: an episode began, its frames, it ended, its
verdict; and so on until the session ended. Frames carry the packed row and the pictures; the others are small
msgpack arrays. `docs/protocol.md` has the same tables in prose.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

import msgpack

from transport.errors import CodecError

MAX_TEXT = 4096


class RecordKind(IntEnum):
    EPISODE_BEGAN = 1
    FRAME = 2
    EPISODE_ENDED = 3
    VERDICT = 4
    SESSION_ENDED = 5


class EndReason(StrEnum):
    """Why an episode ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    TERMINATED = "terminated"
    TRUNCATED = "truncated"
    TIME_LIMIT = "time_limit"
    NEXT = "next"
    RERECORD = "rerecord"
    STOP = "stop"
    ABORTED = "aborted"


class Judgement(StrEnum):
    """What becomes of an ended episode. An aborted one stays in the journal for `onbeat recover` to ask about."""

    KEEP = "keep"
    DISCARD = "discard"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class EpisodeBegan:
    """An episode began. `episode_id` counts the session's episodes from 0, kept or not: not the dataset's index."""

    kind: ClassVar[RecordKind] = RecordKind.EPISODE_BEGAN
    episode_id: int
    task: str

    def pack(self) -> bytes:
        return _pack(self.episode_id, self.task)

    @classmethod
    def unpack(cls, data: bytes) -> EpisodeBegan:
        episode_id, task = _unpack(data, int, str)
        return cls(episode_id, task)


@dataclass(frozen=True, slots=True)
class EpisodeEnded:
    """An episode ended after `frames` frames. `detail` is one line for people, empty when there is nothing to say."""

    kind: ClassVar[RecordKind] = RecordKind.EPISODE_ENDED
    episode_id: int
    frames: int
    reason: EndReason
    detail: str = ""

    def pack(self) -> bytes:
        return _pack(self.episode_id, self.frames, str(self.reason), self.detail[:MAX_TEXT])

    @classmethod
    def unpack(cls, data: bytes) -> EpisodeEnded:
        episode_id, frames, reason, detail = _unpack(data, int, int, str, str)
        return cls(episode_id, frames, _member(EndReason, reason), detail)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the episode that ended."""

    kind: ClassVar[RecordKind] = RecordKind.VERDICT
    episode_id: int
    judgement: Judgement

    def pack(self) -> bytes:
        return _pack(self.episode_id, str(self.judgement))

    @classmethod
    def unpack(cls, data: bytes) -> Verdict:
        episode_id, judgement = _unpack(data, int, str)
        return cls(episode_id, _member(Judgement, judgement))


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The last record. `detail` is empty for an orderly end, else the cause."""

    kind: ClassVar[RecordKind] = RecordKind.SESSION_ENDED
    detail: str = ""

    def pack(self) -> bytes:
        return _pack(self.detail[:MAX_TEXT])

    @classmethod
    def unpack(cls, data: bytes) -> SessionEnded:
        (detail,) = _unpack(data, str)
        return cls(detail)


Event = EpisodeBegan | EpisodeEnded | Verdict | SessionEnded
_EVENTS: dict[int, type[EpisodeBegan] | type[EpisodeEnded] | type[Verdict] | type[SessionEnded]] = {
    event.kind: event for event in (EpisodeBegan, EpisodeEnded, Verdict, SessionEnded)
}


def unpack_event(kind: int, data: bytes) -> Event:
    """Read a record other than a frame.

    Raises:
        CodecError: the kind is unknown, or the bytes are not of that kind.
    """
    event = _EVENTS.get(kind)
    if event is None:
        raise CodecError(f"record kind {kind} found, expected one of {sorted(_EVENTS)}")
    return event.unpack(data)


def _pack(*fields: int | str) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def _unpack(data: bytes, *types: type) -> Any:
    try:
        values = msgpack.unpackb(data, use_list=False, max_str_len=4 * MAX_TEXT, max_array_len=len(types))
    except ValueError as error:
        raise CodecError(f"a record of {len(data)} bytes is not msgpack: {error}") from error
    if not isinstance(values, tuple) or [type(value) for value in values] != list(types):
        raise CodecError(f"a record holds {len(types)} values of types {[t.__name__ for t in types]}")
    if any(isinstance(value, int) and value < 0 for value in values):
        raise CodecError("a record's numbers are not negative")
    return values


def _member[E: StrEnum](enum: type[E], value: str) -> E:
    try:
        return enum(value)
    except ValueError as error:
        raise CodecError(f"{value[:64]!r} found, expected one of {[str(m) for m in enum]}") from error

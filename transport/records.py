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

from transport.errors import CodecError, UsageError

# UTF-8 bytes of a task or a detail; with them the largest event is well below MAX_EVENT_BYTES.
MAX_TEXT_BYTES = 4096
MAX_EVENT_BYTES = 16384
_MAX_NUMBER = 1 << 63


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
        """As the ring holds it.

        Raises:
            UsageError: the task is too long; unlike a detail it is recorded data, so it is not shortened.
        """
        nbytes = len(self.task.encode(errors="replace"))
        if nbytes > MAX_TEXT_BYTES:
            raise UsageError(f"a task of {nbytes} bytes found, expected at most {MAX_TEXT_BYTES}; shorten it")
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
        return _pack(self.episode_id, self.frames, str(self.reason), fitting(self.detail))

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
        return _pack(fitting(self.detail))

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


def fitting(text: str) -> str:
    """As much of a text for people as MAX_TEXT_BYTES of UTF-8 hold, with a mark in place of what is no character."""
    return text.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore")


def _pack(*fields: int | str) -> bytes:
    packed: bytes = msgpack.packb(fields, unicode_errors="replace")
    return packed


def _unpack(data: bytes, *types: type) -> Any:
    try:
        values = msgpack.unpackb(data, use_list=False, max_str_len=MAX_TEXT_BYTES, max_array_len=len(types))
    except ValueError as error:
        raise CodecError(f"a record of {len(data)} bytes is not msgpack: {type(error).__name__}") from error
    if not isinstance(values, tuple) or [type(value) for value in values] != list(types):
        raise CodecError(f"a record holds {len(types)} values of types {[t.__name__ for t in types]}")
    if any(isinstance(value, int) and not 0 <= value < _MAX_NUMBER for value in values):
        raise CodecError("a record's numbers are from 0 to 2**63 - 1")
    return values


def _member[E: StrEnum](enum: type[E], value: str) -> E:
    try:
        return enum(value)
    except ValueError as error:
        raise CodecError(f"{value[:64]!r} found, expected one of {[str(m) for m in enum]}") from error

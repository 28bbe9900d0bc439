"""What one frame consists of: the streams of a session, in the order in which they are stored.

A source of observations declares its streams once; ring, wire, journal and dataset all derive their layout from that
one declaration. Row streams (and the telemetry that goes to the sidecar) are packed into one numpy record; pictures
follow it as planes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from transport.errors import SchemaError

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_ROW_DTYPES = frozenset(
    ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"]
)
_VIDEO_DTYPES = frozenset(["uint8", "float32", "float64"])
_DEPTH_DTYPES = frozenset(["uint16", "float32"])
# LeRobot fills these itself (lerobot.utils.constants.DEFAULT_FEATURES).
_RESERVED = frozenset(["timestamp", "frame_index", "episode_index", "index", "task_index", "task"])
_MAX_DIMENSION = 1 << 20
_MAX_DIMENSIONS = 8
# A frame's row, and each of its pictures (22 megapixels), is one part of a message.
MAX_PART_BYTES = 1 << 26
# With these a schema fits into a HELLO, and a HELLO into the link to the publisher.
_MAX_STREAMS = 512
_MAX_NAME_BYTES = 128
_MAX_ALL_NAMES_BYTES = 1 << 16

HWC = ("height", "width", "channels")
CHW = ("channels", "height", "width")


class Kind(StrEnum):
    """How a stream is stored: a video file, a depth video file, or a column."""

    VIDEO = "video"
    DEPTH = "depth"
    ROW = "row"


@dataclass(frozen=True, slots=True)
class Stream:
    """One named array of every frame.

    Attributes:
        key: the LeRobot feature name, for example `observation.images.front`.
        dtype: numpy name of the dtype as the source delivers it.
        shape: without any batch dimension; scalars are `(1,)`. Pictures have three dimensions, HWC or CHW.
        kind: video, depth or row.
        names: LeRobot's names of the elements or axes; for pictures `HWC` or `CHW` above, which fixes the layout.
        indexed: LeRobot has the names as a map from name to position, as some of its teleoperators give them, not as
            a list; it compares the two as they are.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    kind: Kind = Kind.ROW
    names: tuple[str, ...] | None = None
    indexed: bool = False

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key) or ".." in self.key:
            raise SchemaError(f"stream name {self.key[:200]!r} is not of letters, digits, '_', '-' and '.'; rename it")
        if self.key in _RESERVED:
            raise SchemaError(f"stream name {self.key!r} is one that LeRobot fills itself; rename it")
        allowed = {Kind.ROW: _ROW_DTYPES, Kind.VIDEO: _VIDEO_DTYPES, Kind.DEPTH: _DEPTH_DTYPES}[self.kind]
        if self.dtype not in allowed:
            raise SchemaError(
                f"{self.key}: dtype {self.dtype[:64]!r} found, expected one of {', '.join(sorted(allowed))}"
            )
        if not self.shape or any(not 0 < n < _MAX_DIMENSION for n in self.shape):
            raise SchemaError(
                f"{self.key}: shape {self.shape[:9]} found, expected at least one dimension, each positive"
            )
        if len(self.shape) > _MAX_DIMENSIONS:
            raise SchemaError(f"{self.key}: {len(self.shape)} dimensions found, expected at most {_MAX_DIMENSIONS}")
        if any(len(name.encode(errors="replace")) > _MAX_NAME_BYTES for name in self.names or ()):
            raise SchemaError(f"{self.key}: names of elements have at most {_MAX_NAME_BYTES} bytes; shorten them")
        if self.indexed and len(set(self.names or ())) != len(self.names or ()):
            raise SchemaError(f"{self.key}: the same name found at two positions; rename one")
        if self.kind is not Kind.ROW:
            if self.indexed or len(self.shape) != 3 or self.names not in (HWC, CHW):
                raise SchemaError(f"{self.key}: a picture has three dimensions, named {HWC} or {CHW}")
            expected_channels = 3 if self.kind is Kind.VIDEO else 1
            if self.channels != expected_channels:
                raise SchemaError(
                    f"{self.key}: {self.channels} channels found in shape {self.shape}, expected {expected_channels}"
                )
        if self.wire_nbytes > MAX_PART_BYTES:
            raise SchemaError(
                f"{self.key}: {self.wire_nbytes} bytes of one frame found, expected at most {MAX_PART_BYTES}; make it "
                "smaller"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of one value as the source delivers it."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)

    @property
    def channels_first(self) -> bool:
        return self.names == CHW

    @property
    def height(self) -> int:
        return self.shape[1 if self.channels_first else 0]

    @property
    def width(self) -> int:
        return self.shape[2 if self.channels_first else 1]

    @property
    def channels(self) -> int:
        return self.shape[0 if self.channels_first else 2]

    @property
    def wire_dtype(self) -> str:
        """Pictures cross the network as uint8; depth maps and rows as they are."""
        return "uint8" if self.kind is Kind.VIDEO else self.dtype

    @property
    def wire_shape(self) -> tuple[int, ...]:
        """Pictures cross the network as HWC."""
        if self.kind is Kind.ROW:
            return self.shape
        return (self.height, self.width, self.channels)

    @property
    def wire_nbytes(self) -> int:
        return np.dtype(self.wire_dtype).itemsize * math.prod(self.wire_shape)

    def feature(self) -> dict[str, Any]:
        """The entry of LeRobot's `features` for this stream, as `info.json` holds it before the first episode."""
        names = _plain_names(self)
        if self.kind is Kind.ROW:
            return {"dtype": self.dtype, "shape": self.shape, "names": names}
        feature: dict[str, Any] = {"dtype": "video", "shape": self.shape, "names": names}
        if self.kind is Kind.DEPTH:
            feature["info"] = {"is_depth_map": True}
        return feature


class LoopFlag(IntFlag):
    """Under which conditions a frame was recorded; the bits of `onbeat.loop_flags`."""

    PACED = 1
    FIFO = 2
    MEMORY_LOCKED = 4
    RING_LOCKED = 8
    TIMER_SLACK = 16
    PINNED = 32
    CPU_AWAKE = 64
    GC_PAUSED = 128


# What the loop itself measures in every frame; stored in the sidecar, never as columns.
# Times are CLOCK_MONOTONIC of the robot machine in nanoseconds. The five sections in whole microseconds (`_us`) cover
# the time from the end of the previous frame's action to the end of this frame's: publishing the previous frame and
# looking ahead, waiting for the slot, then policy, teleoperator and step (the rest of the source's tick). Ring fill,
# ring size and writer lag (records not yet durable) count records and are those of the moment of publishing.
LOOP_TELEMETRY = (
    Stream("onbeat.scheduled_ns", "int64", (1,)),
    Stream("onbeat.started_ns", "int64", (1,)),
    Stream("onbeat.action_sent_ns", "int64", (1,)),
    Stream("onbeat.missed_slots", "uint32", (1,)),
    Stream("onbeat.is_intervention", "bool", (1,)),
    Stream("onbeat.loop_flags", "uint32", (1,)),
    Stream("onbeat.publish_us", "uint32", (1,)),
    Stream("onbeat.wait_us", "uint32", (1,)),
    Stream("onbeat.policy_us", "uint32", (1,)),
    Stream("onbeat.teleop_us", "uint32", (1,)),
    Stream("onbeat.step_us", "uint32", (1,)),
    Stream("onbeat.ring_fill", "uint32", (1,)),
    Stream("onbeat.ring_slots", "uint32", (1,)),
    Stream("onbeat.writer_lag", "uint32", (1,)),
)


@dataclass(frozen=True)
class Schema:
    """The streams of a session.

    Attributes:
        streams: columns and pictures, in the order of the dataset's features.
        telemetry: row streams beyond the loop's own that go to the sidecar (capture times, the action as sent).
    """

    streams: tuple[Stream, ...]
    telemetry: tuple[Stream, ...] = field(default=())

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for stream in (*self.streams, *self.sidecar):
            if stream.key in seen:
                raise SchemaError(f"two streams are called {stream.key!r}; each needs a name of its own")
            seen.add(stream.key)
        if any(stream.kind is not Kind.ROW for stream in self.telemetry):
            raise SchemaError("telemetry holds row streams only; declare pictures as streams")
        declared = (*self.streams, *self.telemetry)
        if len(declared) > _MAX_STREAMS:
            raise SchemaError(f"{len(declared)} streams found, expected at most {_MAX_STREAMS}; join some into one")
        names_bytes = sum(len(name.encode(errors="replace")) for stream in declared for name in stream.names or ())
        if names_bytes > _MAX_ALL_NAMES_BYTES:
            raise SchemaError(
                f"{names_bytes} bytes of names found, expected at most {_MAX_ALL_NAMES_BYTES}; shorten them"
            )
        row_bytes = sum(stream.nbytes for stream in (*self.rows, *self.sidecar))
        if row_bytes > MAX_PART_BYTES:
            raise SchemaError(f"rows of {row_bytes} bytes found, expected at most {MAX_PART_BYTES}; leave some out")

    @cached_property
    def rows(self) -> tuple[Stream, ...]:
        return tuple(s for s in self.streams if s.kind is Kind.ROW)

    @cached_property
    def pictures(self) -> tuple[Stream, ...]:
        """Video and depth streams in plane order."""
        return tuple(s for s in self.streams if s.kind is not Kind.ROW)

    @property
    def sidecar(self) -> tuple[Stream, ...]:
        return (*LOOP_TELEMETRY, *self.telemetry)

    @cached_property
    def row_dtype(self) -> np.dtype[np.void]:
        """One packed record: the row streams, then the sidecar's, each under its key."""
        return np.dtype([(s.key, s.dtype, s.shape) for s in (*self.rows, *self.sidecar)])

    def features(self) -> dict[str, dict[str, Any]]:
        """LeRobot's `features` without the default ones, in stream order."""
        return {s.key: s.feature() for s in self.streams}

    def to_wire(self) -> dict[str, Any]:
        """As msgpack-able maps and lists."""
        return {
            "streams": [_stream_to_wire(s) for s in self.streams],
            "telemetry": [_stream_to_wire(s) for s in self.telemetry],
        }

    @classmethod
    def from_wire(cls, value: object) -> Schema:
        """Read what `to_wire` wrote.

        Raises:
            SchemaError: `value` is of another form, or describes streams that cannot be stored.
        """
        if not isinstance(value, Mapping) or set(value) != {"streams", "telemetry"}:
            raise SchemaError("a schema is a map of 'streams' and 'telemetry'")
        lists = [value["streams"], value["telemetry"]]
        if not all(isinstance(items, list | tuple) and len(items) <= _MAX_STREAMS for items in lists):
            raise SchemaError(f"a schema holds two lists of at most {_MAX_STREAMS} streams")
        streams, telemetry = (tuple(_stream_from_wire(item) for item in items) for items in lists)
        return cls(streams, telemetry)


def _stream_to_wire(stream: Stream) -> list[Any]:
    return [stream.key, stream.dtype, list(stream.shape), str(stream.kind), _plain_names(stream)]


def _plain_names(stream: Stream) -> list[str] | dict[str, int] | None:
    if stream.names is None:
        return None
    return {name: index for index, name in enumerate(stream.names)} if stream.indexed else list(stream.names)


def _stream_from_wire(value: object) -> Stream:
    if not isinstance(value, list | tuple) or len(value) != 5:
        raise SchemaError("a stream is a list of key, dtype, shape, kind and names")
    key, dtype, shape, kind, names = value
    if not all(isinstance(text, str) for text in (key, dtype, kind)) or kind not in {str(k) for k in Kind}:
        raise SchemaError("a stream's key and dtype are text, its kind one of video, depth, row")
    if not isinstance(shape, list | tuple) or not all(type(n) is int for n in shape[: _MAX_DIMENSIONS + 1]):
        raise SchemaError(f"{key[:128]!r}: a shape is a list of whole numbers")
    indexed = isinstance(names, Mapping)
    if indexed and [*names.values()] != [*range(len(names))]:
        raise SchemaError(f"{key[:128]!r}: names by position count from 0, in order")
    if names is not None and not (isinstance(names, list | tuple | Mapping) and all(isinstance(n, str) for n in names)):
        raise SchemaError(f"{key[:128]!r}: names are a list of text, a map from text to position, or nothing")
    return Stream(key, dtype, tuple(shape), Kind(kind), None if names is None else tuple(names), indexed)

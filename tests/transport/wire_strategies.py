"""Hypothesis strategies for what crosses the wire, and for what an enemy would send instead."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgpack
import numpy as np
from hypothesis import strategies as st

from transport import messages as msg
from transport.dataset_spec import DatasetSpec, EncoderSpec, UploadSpec
from transport.records import EndReason, EpisodeBegan, EpisodeEnded, Judgement, SessionEnded, Verdict
from transport.schema import CHW, HWC, Kind, Schema, Stream

NUMBERS = st.one_of(st.integers(-1, 300), st.integers(-1, (1 << 63) - 1))
COUNTS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
# What the protocol can carry: any text but lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
CRCS = st.lists(st.integers(0, (1 << 32) - 1), max_size=9).map(tuple)

KEYS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_\-]|\.(?!\.)){0,20}", fullmatch=True).filter(
    lambda key: (
        ".." not in key
        and not key.startswith("onbeat.")
        and key not in ("timestamp", "frame_index", "episode_index", "index", "task_index", "task")
    )
)
NAMES = st.none() | st.lists(TEXT.filter(lambda text: len(text.encode()) <= 128), min_size=1, max_size=4).map(tuple)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    kind = draw(st.sampled_from(Kind))
    if kind is Kind.ROW:
        dtype = draw(st.sampled_from(["bool", "uint8", "int64", "float32", "float64"]))
        shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
        names = draw(NAMES)
        distinct = names is not None and len({*names}) == len(names)
        return Stream(draw(KEYS), dtype, shape, kind, names, indexed=distinct and draw(st.booleans()))
    layout = draw(st.sampled_from([HWC, CHW]))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    channels = 3 if kind is Kind.VIDEO else 1
    dtype = draw(st.sampled_from(["uint8", "float32", "float64"] if kind is Kind.VIDEO else ["uint16", "float32"]))
    shape = (height, width, channels) if layout == HWC else (channels, height, width)
    return Stream(draw(KEYS), dtype, shape, kind, layout)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    found = draw(st.lists(streams(), max_size=5, unique_by=lambda stream: stream.key))
    telemetry = [stream for stream in found if stream.kind is Kind.ROW][:1]
    return Schema(tuple(stream for stream in found if stream not in telemetry), tuple(telemetry))


ENCODERS = st.builds(
    EncoderSpec,
    vcodec=st.sampled_from(["h264", "hevc", "libsvtav1", "auto"]),
    g=st.none() | st.integers(1, 60),
    crf=st.none() | st.integers(0, 63) | st.floats(0, 63),
    preset=st.none() | st.integers(0, 13) | st.sampled_from(["ultrafast", "medium"]),
    fast_decode=st.integers(0, 2),
    extra_options=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9:\-]{0,9}", fullmatch=True), st.integers(0, 9) | st.sampled_from(["film", "1.5"])
    ),
)
NAME = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_]|[.\-](?![.\-])){0,20}[A-Za-z0-9_]", fullmatch=True).filter(
    lambda name: ".." not in name and "--" not in name
)
SPECS = st.builds(
    DatasetSpec,
    repo_id=st.builds("{}/{}".format, NAME, NAME),
    fps=st.integers(1, 1000),
    root=st.none() | st.from_regex(r"/[a-z]{1,9}(/[a-z]{1,9}){0,3}", fullmatch=True),
    resume=st.booleans(),
    robot_type=st.none() | st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True),
    rgb_encoder=ENCODERS,
    encoder_threads=st.none() | st.integers(1, 64),
    allow_slow_encoder=st.booleans(),
    upload=st.none() | st.builds(UploadSpec, st.none() | st.booleans(), st.lists(NAME, max_size=3).map(tuple)),
)

MESSAGES: st.SearchStrategy[msg.Message] = st.one_of(
    st.builds(
        msg.Hello,
        NUMBERS,
        TEXT,
        NUMBERS,
        schemas().map(Schema.to_wire).map(lambda value: listless(value)),
        SPECS.map(DatasetSpec.to_wire),
        TEXT,
    ),
    st.builds(msg.Head, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(msg.Data, *[NUMBERS] * 7, CRCS),
    st.builds(msg.Gap, *[NUMBERS] * 4, TEXT),
    st.builds(msg.Bye, NUMBERS),
    st.builds(msg.Upload, NUMBERS, TEXT, TEXT),
    st.builds(msg.Probe, NUMBERS),
    st.builds(msg.Probed, NUMBERS, NUMBERS),
    st.builds(msg.Welcome, NUMBERS, NUMBERS, TEXT),
    st.builds(msg.Refused, NUMBERS, TEXT),
    st.builds(msg.Fetch, *[NUMBERS] * 5),
    st.builds(msg.Episode, NUMBERS, NUMBERS, TEXT, NUMBERS, NUMBERS, NUMBERS, TEXT),
    st.builds(msg.Status, *[NUMBERS] * 5, st.booleans(), TEXT),
)

EVENTS = st.one_of(
    st.builds(EpisodeBegan, COUNTS, TEXT),
    st.builds(EpisodeEnded, COUNTS, COUNTS, st.sampled_from(EndReason), TEXT),
    st.builds(Verdict, COUNTS, st.sampled_from(Judgement)),
    st.builds(SessionEnded, TEXT),
)


def listless(value: Any) -> Any:
    """Lists as tuples, which is how the codec hands arrays out."""
    if isinstance(value, list | tuple):
        return tuple(listless(item) for item in value)
    if isinstance(value, dict):
        return {key: listless(item) for key, item in value.items()}
    return value


# Anything that msgpack can say: extensions and time stamps included.
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
    TEXT,
    st.binary(max_size=20),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    st.builds(msgpack.Timestamp, st.integers(0, 1 << 40), st.integers(0, 999_999_999)),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(TEXT | st.binary(max_size=3), inner, max_size=5),
    max_leaves=20,
)
_LENGTHS = st.sampled_from([0, 1, 31, 1 << 15, (1 << 20) - 6000, (1 << 31) - 1, (1 << 32) - 1])


def _claim(code: int) -> st.SearchStrategy[bytes]:
    return _LENGTHS.map(lambda n: bytes([code]) + struct.pack(">I", n))


# Headers of msgpack's str32, bin32, array32, map32 and ext32 that claim more than follows, many times nested.
BOMBS = st.builds(
    lambda code, claims, tail: bytes([0x95, code]) + b"".join(claims) + tail,
    st.sampled_from(list(msg.Opcode)),
    st.lists(
        st.one_of(_claim(0xDB), _claim(0xC6), _claim(0xDD), _claim(0xDF), _claim(0xC9), st.just(b"\x91")),
        min_size=1,
        max_size=600,
    ),
    st.binary(max_size=30),
)


def sealed(data: bytes) -> bytes:
    """Part 0 around arbitrary content: what passes the checksum, so that everything behind it is reached."""
    return data + zlib.crc32(data).to_bytes(4, "little")


def small_schema(
    pictures: int = 1, *, dtype: str = "uint8", layout: tuple[str, ...] = HWC, height: int = 24, width: int = 32
) -> Schema:
    shape = (height, width, 3) if layout == HWC else (3, height, width)
    return Schema(
        (
            Stream("observation.state", "float32", (2,)),
            *(Stream(f"observation.images.cam{i}", dtype, shape, Kind.VIDEO, layout) for i in range(pictures)),
            Stream("action", "float32", (2,)),
        )
    )


def same_arrays(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    return found.dtype == expected.dtype and np.array_equal(found, expected)

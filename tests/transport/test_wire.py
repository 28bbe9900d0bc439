"""Pictures cross the network as uint8 HWC, with exactly the values that lerobot's own writers would store."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from wire_strategies import small_schema

from transport.records import EpisodeBegan
from transport.ring import LogRing
from transport.schema import CHW, HWC, Kind, Schema, Stream
from transport.wire import part_sizes, parts_of, to_wire


def stream(dtype: str, layout: tuple[str, ...], height: int, width: int) -> Stream:
    shape = (height, width, 3) if layout == HWC else (3, height, width)
    return Stream("observation.images.cam", dtype, shape, Kind.VIDEO, layout)


def as_lerobot(picture: np.ndarray[Any, Any], layout: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """The two lines of lerobot/datasets/video_utils.py that turn a picture into what it encodes."""
    if layout == CHW:
        picture = picture.transpose(1, 2, 0)
    return picture if picture.dtype == np.uint8 else (picture * 255).astype(np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("layout", [HWC, CHW], ids=["HWC", "CHW"])
@given(seed=st.integers(0, 99), height=st.integers(1, 9), width=st.integers(1, 9))
def test_pictures_are_those_of_lerobot(dtype: str, layout: tuple[str, ...], seed: int, height: int, width: int) -> None:
    declared = stream(dtype, layout, height, width)
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, declared.shape, np.uint8)
    if dtype != "uint8":
        # Both what a conversion from uint8 leaves (where int(255 x) is most sensitive) and anything between.
        exact = (picture / np.dtype(dtype).type(255)).astype(dtype)
        picture = np.where(random.random(declared.shape) < 0.5, exact, random.random(declared.shape)).astype(dtype)
    found = to_wire(declared, picture)
    assert found.flags.c_contiguous
    assert (found.dtype, found.shape, found.nbytes) == (np.uint8, declared.wire_shape, declared.wire_nbytes)
    assert np.array_equal(found, as_lerobot(picture, layout))


@given(hnp.arrays("float32", (2, 3, 3), elements=st.floats(width=32)))
def test_no_float_wraps_around(picture: np.ndarray[Any, Any]) -> None:
    found = to_wire(stream("float32", HWC, 2, 3), picture)
    assert np.all(found[np.nan_to_num(picture, nan=0) <= 0] == 0)
    assert np.all(found[picture >= 1] == 255)


def test_uint8_hwc_is_sent_from_where_it_lies() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    assert to_wire(stream("uint8", HWC, 4, 5), picture) is picture


def test_depth_keeps_its_values() -> None:
    depth = Stream("observation.images.depth", "uint16", (1, 2, 3), Kind.DEPTH, CHW)
    picture = np.arange(6, dtype=np.uint16).reshape(1, 2, 3) * 9000
    found = to_wire(depth, picture)
    assert (found.dtype, found.shape) == (np.uint16, (2, 3, 1))
    assert np.array_equal(found[..., 0], picture[0])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("layout", [HWC, CHW], ids=["HWC", "CHW"])
def test_the_parts_of_a_frame_have_the_sizes_that_the_writer_expects(dtype: str, layout: tuple[str, ...]) -> None:
    schema = small_schema(3, dtype=dtype, layout=layout)
    ring = LogRing.create(schema, seconds=1, fps=4)
    slot = ring.next_slot()
    assert slot is not None
    seq = ring.append_frame(0, 0)
    parts, crcs = parts_of(*ring.read(seq)[::3], schema)  # kind and slot
    assert [memoryview(part).nbytes for part in parts] == part_sizes(schema)
    assert list(crcs) == [zlib.crc32(part) for part in parts]


def test_a_crc_is_that_of_the_first_look() -> None:
    """A later change of the memory must show, so it is not computed again."""
    schema: Schema = small_schema()
    ring = LogRing.create(schema, seconds=1, fps=4)
    slot = ring.next_slot()
    assert slot is not None
    slot.pictures[0][:] = 7
    kind, _, _, read = ring.read(ring.append_frame(0, 0))
    _, first = parts_of(kind, read, schema)
    slot.pictures[0][3, 3, 1] ^= 1
    parts, again = parts_of(kind, LogRing.attach(ring.fd, schema).read(1)[3], schema)
    assert list(again) == list(first)
    assert zlib.crc32(parts[1]) != again[1]
    event = ring.append_event(EpisodeBegan(1, "another record has CRCs of its own"))
    assert event == 2
    kind, _, _, read = ring.read(event)
    parts, crcs = parts_of(kind, read, schema)
    assert list(crcs) == [zlib.crc32(parts[0])]

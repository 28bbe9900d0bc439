"""What a HELLO may say about streams: everything that can be recorded, and nothing that can hurt."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import VALUES, listless, schemas

from transport import messages as msg
from transport.errors import SchemaError
from transport.fetcher import Fetcher
from transport.schema import CHW, HWC, Kind, Schema, Stream
from transport.sockets import MAX_PART_BYTES
from transport.wire import part_sizes

ROW: list[Any] = ["observation.state", "float32", [6], "row", None]
CAMERA: list[Any] = ["observation.images.front", "uint8", [480, 640, 3], "video", list(HWC)]
LONGEST_KEY = "k" * 128


def wire(*streams: object, telemetry: object = ()) -> dict[str, object]:
    return {"streams": list(streams), "telemetry": telemetry}


@given(schemas())
def test_every_schema_comes_back_through_msgpack(schema: Schema) -> None:
    packed = msgpack.packb(schema.to_wire())
    assert Schema.from_wire(msgpack.unpackb(packed)) == schema
    assert Schema.from_wire(msgpack.unpackb(packed, use_list=False)) == schema


@given(schemas())
def test_slots_hold_what_the_wire_needs(schema: Schema) -> None:
    sizes = part_sizes(schema)
    assert len(sizes) == 1 + len(schema.pictures)
    assert all(0 < size <= MAX_PART_BYTES for size in sizes)


@given(VALUES)
def test_any_value_is_a_schema_or_a_schema_error(value: object) -> None:
    read(value)
    read(wire(value))
    read(wire(telemetry=[value]))


@given(st.integers(0, 4), VALUES)
def test_any_value_in_any_place_of_a_stream(position: int, value: object) -> None:
    for stream in (ROW, CAMERA):
        changed = [*stream]
        changed[position] = value
        read(listless(wire(changed)))


def read(value: object) -> Schema | None:
    try:
        schema = Schema.from_wire(value)
    except SchemaError as error:
        found = str(error)
    else:
        # Whatever is accepted can be worked with: this is what the writer does next.
        Fetcher(1, 0, schema, 1 << 20)
        schema.features()
        return schema
    assert "\n" not in found
    assert len(found) < 600
    return None


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "observation..state",
        ".hidden",
        "-rf",
        "a\x00b",
        "a\n",
        "a b",
        "kamera_größe",
        "ａ",
        "a\u202eb",
        LONGEST_KEY + "k",
        "task_index",
        "onbeat.started_ns",
    ],
    ids=ascii,
)
def test_a_name_is_neither_a_path_nor_a_trick(key: str) -> None:
    assert read(wire([key, *ROW[1:]])) is None


def test_the_longest_name_is_taken() -> None:
    assert read(wire([LONGEST_KEY, *ROW[1:]])) is not None


@pytest.mark.parametrize(
    "stream",
    [
        [ROW[0], "object", [6], "row", None],
        [ROW[0], "O", [6], "row", None],
        [ROW[0], "datetime64[ns]", [6], "row", None],
        [ROW[0], "float32", [], "row", None],
        [ROW[0], "float32", [0], "row", None],
        [ROW[0], "float32", [-1], "row", None],
        [ROW[0], "float32", [True], "row", None],
        [ROW[0], "float32", [2.0], "row", None],
        [ROW[0], "float32", ["6"], "row", None],
        [ROW[0], "float32", [1 << 20], "row", None],
        [ROW[0], "float32", [1] * 9, "row", None],
        [ROW[0], "float32", [6], "column", None],
        [ROW[0], "float32", [6], None, None],
        [ROW[0], "float32", [6], {}, None],
        [ROW[0], "float32", [6], ["row"], None],
        [ROW[0], "float32", [6], "row", "xyz"],
        [ROW[0], "float32", [6], "row", [1, 2]],
        [ROW[0], "float32", [6], "row", ["n" * 129]],
        [ROW[0], "float32", [6], "row", {"n" * 129: 0}],
        [ROW[0], "float32", [6], "row", {"x": 1, "y": 0}],
        [ROW[0], "float32", [6], "row", {"x": 0, "y": 0}],
        [ROW[0], "float32", [6], "row", {"x": "0"}],
        [ROW[0], "float32", [6], "row", {0: 0}],
        [CAMERA[0], "uint8", [480, 640, 3], "video", {name: index for index, name in enumerate(HWC)}],
        [CAMERA[0], "uint8", [480, 640, 4], "video", list(HWC)],
        [CAMERA[0], "uint8", [480, 640, 3], "video", list(CHW)],
        [CAMERA[0], "uint8", [480, 640, 3], "video", None],
        [CAMERA[0], "uint8", [480, 640], "video", list(HWC)],
        [CAMERA[0], "uint16", [480, 640, 3], "video", list(HWC)],
        [CAMERA[0], "uint8", [480, 640, 1], "depth", list(HWC)],
        ROW[:4],
        [*ROW, None],
        "row",
        None,
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_streams_that_cannot_be_recorded_are_refused(stream: object) -> None:
    assert read(wire(stream)) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"streams": []},
        {"streams": [], "telemetry": [], "more": 1},
        {"streams": {}, "telemetry": []},
        wire(ROW, ROW),
        wire(ROW, telemetry=[ROW]),
        wire(telemetry=[CAMERA]),
        wire(*[[f"s{i}", *ROW[1:]] for i in range(513)]),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_other_forms_are_refused(value: object) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    "stream",
    [
        [ROW[0], "float64", [1 << 19] * 8, "row", None],
        [ROW[0], "float64", [1 << 19, 1 << 19], "row", None],
        [ROW[0], "uint8", [1 << 19, 1 << 10], "row", None],
        [CAMERA[0], "uint8", [1 << 19, 1 << 19, 3], "video", list(HWC)],
        [CAMERA[0], "uint8", [1 << 14, 1 << 13, 3], "video", list(HWC)],
    ],
    ids=lambda value: ascii(value)[30:80],
)
def test_sizes_beyond_a_message_are_refused_before_anything_is_allocated(stream: object) -> None:
    """numpy raises what nobody catches for a row of that size, and a HELLO would end the writer with it."""
    assert read(wire(stream)) is None


def test_names_by_position_become_lerobots_map() -> None:
    """lerobot's gamepad and keyboard name their action so, and lerobot compares the names of datasets as they are."""
    names = {"delta_x": 0, "gripper": 1}
    schema = read(wire([ROW[0], "float32", [2], "row", names]))
    assert schema is not None
    assert schema.features()[ROW[0]]["names"] == names
    with pytest.raises(SchemaError, match="two positions"):
        Stream("action", "float32", (2,), names=("x", "x"), indexed=True)


def test_rows_count_together() -> None:
    assert read(wire(*[[f"s{i}", "uint8", [1 << 19, 60], "row", None] for i in range(10)])) is None


def test_the_greatest_schema_fits_into_a_hello() -> None:
    """Else the HELLO would be refused by its size alone, and nobody would know why."""
    streams = [Stream(f"{i:03d}".ljust(128, "k"), "float64", (524_287, 1, 1, 1), Kind.ROW) for i in range(3)]
    streams += [Stream(f"s{i:03d}".ljust(128, "k"), "float64", (9, 9), Kind.ROW, ("n" * 128,)) for i in range(500)]
    schema = Schema(tuple(streams))
    hello = msg.Hello(1, "s" * 32, 1, schema.to_wire(), {}, "o" * 9000)
    packed = msg.pack(hello)
    assert len(packed) < msg.MAX_HEADER_BYTES
    assert Schema.from_wire(msg.unpack(packed).schema) == schema  # type: ignore[union-attr]
    with pytest.raises(SchemaError, match="names"):
        Schema((*streams, Stream("one_more", "float32", (999,), Kind.ROW, ("n" * 128,) * 999)))

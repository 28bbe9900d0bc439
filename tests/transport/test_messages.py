"""Part 0 of a message: what was packed comes back, and nothing else is taken for a message."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire_strategies import BOMBS, MESSAGES, VALUES, sealed

from transport import messages as msg
from transport.errors import CodecError

_FETCH = msg.Fetch(3, 1, 10, 1000, 9)


@given(MESSAGES)
def test_every_message_comes_back_as_it_was(message: msg.Message) -> None:
    assert msg.unpack(msg.pack(message)) == message


@given(MESSAGES, st.data())
def test_a_damaged_message_is_no_message(message: msg.Message, data: st.DataObject) -> None:
    packed = bytearray(msg.pack(message))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CodecError):
        msg.unpack(bytes(packed))


@given(MESSAGES, st.data())
def test_a_truncated_message_is_no_message(message: msg.Message, data: st.DataObject) -> None:
    packed = msg.pack(message)
    with pytest.raises(CodecError):
        msg.unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


def read(data: bytes) -> msg.Message | None:
    """The only two outcomes that there may be, in memory in proportion to what came."""
    tracemalloc.start()
    try:
        return msg.unpack(data)
    except CodecError as found:
        error = str(found)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 48 * len(data) + (1 << 20)
    assert "\n" not in error
    assert len(error) < 300
    return None


@given(st.binary(max_size=2000))
@example(b"")
@example(b"\xc1" * 5)
def test_any_bytes_are_a_message_or_a_codec_error(data: bytes) -> None:
    read(data)
    read(sealed(data))


@given(st.lists(VALUES, max_size=9), st.sampled_from(msg.Opcode))
def test_any_values_are_a_message_or_a_codec_error(values: list[Any], opcode: msg.Opcode) -> None:
    read(sealed(msgpack.packb([int(opcode), *values])))


@given(BOMBS)
@settings(max_examples=60)
def test_claimed_lengths_allocate_nothing(data: bytes) -> None:
    read(sealed(data))


@pytest.mark.parametrize("code", [0xDD, 0xDF, 0xDB, 0xC6, 0xC9], ids=["array", "map", "str", "bin", "ext"])
@pytest.mark.parametrize("padding", [0, (1 << 20) - 8000], ids=["short", "long"])
def test_nested_claims_of_great_length_allocate_nothing(code: int, padding: int) -> None:
    """Every array header may make the reader allocate what it claims; a long message makes long claims believable."""
    claim = bytes([code]) + ((1 << 20) - 8000).to_bytes(4, "big")
    assert read(sealed(b"\x95\x01" + claim * 1000 + b"\xc0" * padding)) is None


@pytest.mark.parametrize("depth", [100, 600, 100_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    assert read(sealed(b"\x92\x05" + b"\x91" * depth + b"\x01")) is None


def fetch_with(position: int, value: object) -> bytes:
    values: list[object] = [int(_FETCH.opcode), 3, 1, 10, 1000, 9]
    values[position] = value
    return sealed(msgpack.packb(values))


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize(
    "value",
    [True, False, None, 1.0, "1", b"1", [1], {}, 1 << 63, (1 << 64) - 1, -2, -(1 << 63), msgpack.Timestamp(1, 1)],
    ids=repr,
)
def test_numbers_are_numbers_in_range(position: int, value: object) -> None:
    assert read(fetch_with(position, value)) is None


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_the_number_of_fields_is_exact(count: int) -> None:
    assert read(sealed(msgpack.packb([int(_FETCH.opcode), *range(count)]))) is None


@pytest.mark.parametrize(
    "message",
    [
        [],
        [99],
        ["FETCH"],
        [True, 1],
        {"opcode": 5},
        5,
        [16, 1, 2, b"bytes are no text"],
        [16, 1, 2, "x" * 70_000],
        [3, 1, 1, 1, 2, 1, 1, 1, [-1]],
        [3, 1, 1, 1, 2, 1, 1, 1, [1 << 32]],
        [3, 1, 1, 1, 2, 1, 1, 1, [True]],
        [3, 1, 1, 1, 2, 1, 1, 1, [0] * 5000],
        [20, 1, 1, 1, 1, 1, 1, ""],
        [1, 1, "s", 1, {1: 2}, {}, ""],
        [1, 1, "s", 1, {"a": msgpack.ExtType(1, b"x")}, {}, ""],
        [1, 1, "s", 1, {"a": msgpack.Timestamp(1)}, {}, ""],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_other_forms_are_refused(message: object) -> None:
    assert read(sealed(msgpack.packb(message))) is None


def test_more_than_a_mebibyte_is_refused_unread() -> None:
    assert read(b"\xc1" * (msg.MAX_HEADER_BYTES + 1)) is None


def test_bytes_behind_the_array_are_refused() -> None:
    whole = msg.pack(_FETCH)[:-4]
    assert msg.unpack(sealed(whole)) == _FETCH
    assert read(sealed(whole + b"\x00")) is None


def test_text_for_people_is_made_to_fit() -> None:
    """A refusal must reach the other side, whatever its cause put into it."""
    long = msg.unpack(msg.pack(msg.Refused(1, "é" * 100_000)))
    assert isinstance(long, msg.Refused)
    assert long.reason.startswith("é" * 1000)
    undecodable = msg.unpack(msg.pack(msg.Refused(1, "file \udcff is not there")))
    assert undecodable == msg.Refused(1, "file ? is not there")

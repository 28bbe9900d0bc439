"""Keys of a terminal, byte by byte."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.keys import ESCAPE_PATIENCE_S, KEYS, KeyDecoder


@pytest.mark.parametrize(("data", "event"), [(data, event) for data, event in KEYS.items() if data != b"\x1b"])
def test_every_key_alone(data: bytes, event: str) -> None:
    assert KeyDecoder().feed(data, 0.0) == [event]


def test_escape_alone_is_noticed_by_silence() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b", 1.0) == []
    assert decoder.feed(b"", 1.0 + ESCAPE_PATIENCE_S / 2) == []
    assert decoder.feed(b"", 1.0 + ESCAPE_PATIENCE_S) == ["stop"]
    assert decoder.feed(b"", 9.0) == []


def test_an_arrow_that_arrives_in_pieces_is_no_escape() -> None:
    decoder = KeyDecoder()
    assert [decoder.feed(piece, 0.01 * i) for i, piece in enumerate([b"\x1b", b"[", b"C"])] == [[], [], ["next"]]


@pytest.mark.parametrize("data", [b"x", b" ", b"\n", b"\x1b[A", b"\x1b[15~", b"\x1b[1;5P"])
def test_other_keys_mean_nothing(data: bytes) -> None:
    assert KeyDecoder().feed(data, 0.0) == []


def test_capitals_count() -> None:
    assert KeyDecoder().feed(b"NRQSF", 0.0) == ["next", "rerecord", "stop", "success", "failure"]


@given(st.lists(st.sampled_from([key for key in KEYS if key != b"\x1b"]), max_size=20), st.data())
def test_cutting_the_bytes_anywhere_changes_nothing(keys: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(keys)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))) | {0, len(whole)})
    decoder, found = KeyDecoder(), []
    for start, end in itertools.pairwise(cuts):
        found += decoder.feed(whole[start:end], 0.0)
    assert found == [KEYS[key] for key in keys]

"""Keys of a terminal, byte by byte, and what they mean."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.key_codes import DEVICE_KEYS, TERMINAL_KEYS
from control.keys import KeyMap, KeysFlags
from control.terminal import ESCAPE_PATIENCE_S, KeyDecoder
from transport import flags
from transport.errors import UsageError

KEYS = KeyMap.of(KeysFlags())
SEQUENCES = sorted({sequence for each in TERMINAL_KEYS.values() for sequence in each} - {b"\x1b"})


def events(data: bytes, keys: KeyMap = KEYS) -> list[str]:
    return [event for key in KeyDecoder().feed(data, 0.0) for event in keys.of_terminal(key)]


@pytest.mark.parametrize("data", SEQUENCES)
def test_every_key_alone(data: bytes) -> None:
    assert KeyDecoder().feed(data, 0.0) == [data]


def test_the_keys_of_lerobot_record() -> None:
    assert events(b"\x1b[C\x1bOC\x1b[D\x1bOD") == ["next", "next", "rerecord", "rerecord"]
    assert events(b"nrqsfui \r\x7f") == [
        "next", "rerecord", "stop", "success", "failure", "undo", "takeover", "start", "start",
        "undo",
    ]  # fmt: skip


def test_escape_alone_is_noticed_by_silence() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b", 1.0) == []
    assert decoder.feed(b"", 1.0 + ESCAPE_PATIENCE_S / 2) == []
    assert decoder.feed(b"", 1.0 + ESCAPE_PATIENCE_S) == [b"\x1b"]
    assert decoder.feed(b"", 9.0) == []
    assert KEYS.of_terminal(b"\x1b") == ("stop",)


def test_a_sequence_without_an_end_was_an_escape() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b[", 1.0) == []
    assert decoder.feed(b"", 2.0) == [b"\x1b"]


def test_an_arrow_that_arrives_in_pieces_is_no_escape() -> None:
    decoder = KeyDecoder()
    assert [decoder.feed(piece, 0.01 * i) for i, piece in enumerate([b"\x1b", b"[", b"C"])] == [[], [], [b"\x1b[C"]]


@pytest.mark.parametrize("data", [b"x", b"\t", b"\x1b[A", b"\x1b[15~", b"\x1b[1;5P", "ü".encode()])
def test_other_keys_mean_nothing(data: bytes) -> None:
    assert events(data) == []


def test_capitals_count() -> None:
    assert events(b"NRQSF") == ["next", "rerecord", "stop", "success", "failure"]


@given(st.lists(st.sampled_from([*SEQUENCES, b"n", b"7"]), max_size=20), st.data())
def test_cutting_the_bytes_anywhere_changes_nothing(keys: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(keys)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))) | {0, len(whole)})
    decoder, found = KeyDecoder(), []
    for start, end in itertools.pairwise(cuts):
        found += decoder.feed(whole[start:end], 0.0)
    assert found == keys


# -- what they mean ----------------------------------------------------------------------------------------------------


def parsed(*argv: str) -> KeyMap:
    return KeyMap.of(flags.parse(KeysFlags, argv, prog="test", about=""))


def test_keys_can_be_given_anew() -> None:
    keys = parsed("--end_episode=[f5, KEY_ENTER, 300]", "--start=[f5]", "--undo=[U]")
    assert events(b"\x1b[15~n\x1b[Cu ", keys) == ["next", "start", "undo"]
    assert keys.devices[28] == keys.devices[300] == ("next",)
    assert keys.help == "f5 next   ← r re-record   esc q stop   s success   f failure   f5 start   U undo   i take over"


def test_a_pedal_of_three_starts_ends_and_judges() -> None:
    assert [KEYS.devices[DEVICE_KEYS[f"KEY_{key}"]] for key in "ABC"] == [
        ("rerecord",),
        ("next", "start"),
        ("success",),
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--stop=[KEY_NONE]"], "--keys.stop: 'KEY_NONE' is no key; expected a letter"),
        (["--stop=[entr]"], "--keys.stop: 'entr' is no key"),
        (["--stop=['']"], "--keys.stop: '' is no key"),
        (["--stop=['99999']"], "is no key"),
        (["--undo=[n]"], "n means both --keys.end_episode and --keys.undo; give one of them another key"),
        (["--undo=[KEY_PAGEUP]"], "KEY_PAGEUP means both --keys.rerecord and --keys.undo"),
        (["--stop=[q, q]"], "q means both --keys.stop and --keys.stop"),
        (["--success=[enter]", "--failure=[ENTER]"], "enter means both --keys.success and --keys.failure"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(argv: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        parsed(*argv)
    assert "\n" not in str(caught.value)


def test_the_codes_are_the_kernels() -> None:
    header = Path("/usr/include/linux/input-event-codes.h")
    if not header.exists():
        pytest.skip("this machine has no kernel headers")
    known = dict(re.findall(r"^#define\s+((?:KEY|BTN)_\w+)\s+(0x[0-9a-f]+|\d+)", header.read_text(), re.MULTILINE))
    assert {name: int(known[name], 0) for name in DEVICE_KEYS} == DEVICE_KEYS

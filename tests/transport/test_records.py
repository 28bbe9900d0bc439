"""The records of the log: what was packed comes back, whatever the text, and fits where it must fit."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import EVENTS, VALUES, small_schema

from transport.errors import CodecError, UsageError
from transport.fetcher import Fetcher
from transport.messages import Data
from transport.records import (
    EndReason,
    EpisodeBegan,
    EpisodeEnded,
    Event,
    Judgement,
    RecordKind,
    SessionEnded,
    Verdict,
    unpack_event,
)
from transport.ring import LogRing
from transport.wire import parts_of


@given(EVENTS)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    assert unpack_event(event.kind, event.pack()) == event


@given(st.integers(-1, 300), st.binary(max_size=300))
def test_any_bytes_are_an_event_or_a_codec_error(kind: int, data: bytes) -> None:
    try:
        event = unpack_event(kind, data)
    except CodecError:
        return
    assert event.kind == kind


@given(st.sampled_from([kind for kind in RecordKind if kind is not RecordKind.FRAME]), st.lists(VALUES, max_size=5))
def test_any_values_are_an_event_or_a_codec_error(kind: RecordKind, values: list[Any]) -> None:
    try:
        event = unpack_event(kind, msgpack.packb(values))
    except CodecError:
        return
    assert event.kind is kind


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (RecordKind.FRAME, [1]),
        (RecordKind.EPISODE_BEGAN, [True, "task"]),
        (RecordKind.EPISODE_BEGAN, [-1, "task"]),
        (RecordKind.EPISODE_BEGAN, [1 << 63, "task"]),
        (RecordKind.EPISODE_BEGAN, [1]),
        (RecordKind.EPISODE_BEGAN, [1, "task", 2]),
        (RecordKind.EPISODE_ENDED, [1, 2, "tired", ""]),
        (RecordKind.VERDICT, [1, "maybe"]),
        (RecordKind.SESSION_ENDED, [None]),
    ],
)
def test_other_values_are_refused(kind: RecordKind, values: list[Any]) -> None:
    with pytest.raises(CodecError):
        unpack_event(kind, msgpack.packb(values))


# Four bytes a character is the most that UTF-8 has; the detail of an episode's end is an exception's own text.
LONG = ["x" * 100_000, "🤖" * 100_000, "a" + "🤖" * 100_000, "\udcff" * 5000]


@pytest.mark.parametrize("text", LONG, ids=["one byte", "four bytes", "odd", "surrogates"])
@pytest.mark.parametrize(
    "make",
    [lambda text: EpisodeEnded(1, 2, EndReason.ABORTED, text), SessionEnded],
    ids=["episode ended", "session ended"],
)
def test_a_long_detail_still_crosses_ring_and_wire(text: str, make: Any) -> None:
    """It would be asked for again for ever if the writer refused what the ring took."""
    schema = small_schema()
    ring = LogRing.create(schema, seconds=1, fps=10)
    seq = ring.append_event(make(text))
    assert seq == 1
    kind, episode_id, frame_index, slot = ring.read(seq)
    parts, crcs = parts_of(kind, slot, schema)
    fetcher = Fetcher(1, 0, schema, 1 << 20)
    assert fetcher.accept(Data(1, 0, 1, kind, episode_id, frame_index, 1, tuple(crcs)), parts)
    event = unpack_event(kind, bytes(memoryview(parts[0])))
    assert isinstance(event, EpisodeEnded | SessionEnded)
    assert len(event.detail) >= 1000


def test_a_task_that_does_not_fit_is_refused_in_words() -> None:
    """Unlike a detail it is a column of the dataset, so it is not shortened."""
    EpisodeBegan(0, "🤖" * 1024).pack()
    with pytest.raises(UsageError, match=r"task of 4097 bytes found, expected at most 4096"):
        EpisodeBegan(0, "t" * 4097).pack()


def test_events_and_frames_share_a_slot_without_a_trace_of_each_other() -> None:
    schema = small_schema()
    ring = LogRing.create(schema, seconds=1, fps=4)
    for turn in range(3 * ring.slot_count):
        slot = ring.next_slot()
        assert slot is not None
        slot.pictures[0][:] = turn % 251
        slot.row["action"] = turn
        frame = ring.append_frame(turn, turn)
        event = ring.append_event(Verdict(turn, Judgement.KEEP))
        assert event == frame + 1
        _, _, _, read = ring.read(frame)
        assert np.all(read.pictures[0] == turn % 251)
        kind, episode_id, _, read = ring.read(event)
        parts, _ = parts_of(kind, read, schema)
        assert unpack_event(kind, bytes(memoryview(parts[0]))) == Verdict(turn, Judgement.KEEP)
        assert episode_id == turn
        ring.free_to(event + 1)

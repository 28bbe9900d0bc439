"""Pictures that a writer on the same machine copies out of the ring: whole and right, or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import publisher_harness as harness
import pytest
from wire_strategies import small_schema

from transport.errors import LogError
from transport.fetcher import Fetcher
from transport.lent_pictures import LentPictures, can_be_lent, lent_pictures
from transport.link import read_only
from transport.messages import Data
from transport.records import RecordKind
from transport.ring import LogRing
from transport.schema import CHW, HWC, Kind, Schema, Stream
from transport.wire import row_of

COPIES = 3000


def ring_of(frames: int = 4, *, size: int = 24) -> LogRing:
    return LogRing.create(small_schema(pictures=2, height=size, width=size), seconds=frames, fps=1)


def append(ring: LogRing) -> int:
    """Append a frame whose pixels say which one it is."""
    slot = ring.next_slot()
    assert slot is not None
    seq = ring.head_seq + 1
    for picture in slot.pictures:
        picture[:] = seq % 251
    return ring.append_frame(0, seq - 1)


def lent_frame(ring: LogRing, seq: int) -> tuple[Data, list[bytes]]:
    (row,), crcs = row_of(ring.slot(seq))
    return Data(1, 0, seq, RecordKind.FRAME, 0, seq - 1, ring.head_seq, tuple(crcs)), [bytes(row)]


@pytest.mark.parametrize(
    ("dtype", "layout", "lent"), [("uint8", HWC, True), ("uint8", CHW, False), ("float32", HWC, False)]
)
def test_only_what_needs_no_conversion_is_lent(dtype: str, layout: tuple[str, ...], lent: bool) -> None:
    assert can_be_lent(small_schema(dtype=dtype, layout=layout)) is lent


def test_depth_is_lent_and_rows_alone_are_not() -> None:
    row = Stream("action", "float32", (2,))
    depth = Stream("observation.images.depth", "uint16", (4, 4, 1), Kind.DEPTH, HWC)
    assert can_be_lent(Schema((row, depth)))
    assert not can_be_lent(Schema((row,)))


def test_a_record_that_is_held_is_copied_and_one_that_left_is_not() -> None:
    ring = ring_of()
    lent = LentPictures(LogRing.attach(ring.fd, ring.schema, read_only=True))
    assert lent.copy(1) is None
    append(ring)
    pictures = lent.copy(1)
    assert pictures is not None
    ring.free_to(2)
    assert lent.copy(1) is None
    assert [picture.tolist() for picture in pictures] == [np.full((24, 24, 3), 1).tolist()] * 2


def test_a_copy_is_never_of_two_records_however_fast_slots_are_reused() -> None:
    ring = ring_of(size=160)
    lent = LentPictures(LogRing.attach(ring.fd, ring.schema, read_only=True))
    over = threading.Event()

    def control() -> None:
        while not over.is_set():
            append(ring)
            ring.free_to(ring.head_seq - 1)

    thread = threading.Thread(target=control)
    append(ring)
    thread.start()
    copied = refused = 0
    try:
        # Both have to be seen, or nothing was shown.
        while copied + refused < COPIES or not (copied and refused):
            seq = ring.tail_seq
            pictures = lent.copy(seq)
            if pictures is None:
                refused += 1
                continue
            copied += 1
            assert all((picture == seq % 251).all() for picture in pictures)
    finally:
        over.set()
        thread.join()


def test_a_record_that_left_the_ring_is_asked_for_again() -> None:
    ring = ring_of()
    fetcher = Fetcher(1, 0, ring.schema, 1 << 20, lent=LentPictures(ring))
    for _ in range(2):
        append(ring)
    taken = fetcher.accept(*lent_frame(ring, 1))
    assert taken is not None
    assert [len(part) for part in map(bytes, taken)] == [ring.schema.row_dtype.itemsize, 1728, 1728]
    ring.free_to(3)
    assert fetcher.accept(*lent_frame(ring, 2)) is None
    assert fetcher.refused == {"no longer lent": 1}
    assert (fetcher.fetch(0).generation, fetcher.fetch(0).from_seq) == (1, 2)


def test_whoever_has_no_ring_takes_no_frame_without_its_pictures() -> None:
    ring = ring_of()
    append(ring)
    fetcher = Fetcher(1, 0, ring.schema, 1 << 20)
    assert fetcher.accept(*lent_frame(ring, 1)) is None
    assert fetcher.refused == {"wrong size": 1}


def test_a_ring_of_another_session_lends_nothing_and_one_of_another_schema_is_an_error() -> None:
    ring = ring_of()
    assert lent_pictures(ring.fd, ring.schema, ring.session_id) is not None
    assert lent_pictures(ring.fd, ring.schema, "0" * 32) is None
    with pytest.raises(LogError, match="log ring"):
        lent_pictures(ring.fd, small_schema(pictures=3), ring.session_id)


def test_the_writers_file_descriptor_cannot_write() -> None:
    ring = ring_of()
    fd = read_only(ring.fd)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            LogRing.attach(fd, ring.schema)
    finally:
        os.close(fd)


def test_a_publisher_that_lends_sends_no_picture_and_frees_the_slot_when_it_is_durable(tmp_path: Path) -> None:
    with harness.bench(tmp_path, lends=True) as bench, harness.writer_of(bench) as writer:
        bench.start()
        bench.until(lambda: writer.hellos == 1, writer)
        bench.publish(10, writer)
        bench.until(lambda: len(writer.got) == 10, writer)
        assert writer.lent_frames == 10
        for seq, (data, parts) in writer.got.items():
            harness.assert_frame(seq, data, parts)
            assert len(data.crcs) == 1
        writer.durable_seq = 10
        bench.until(lambda: bench.ring.fill_slots == 0, writer)


def test_a_writer_that_falls_behind_gets_the_rest_from_the_spill(tmp_path: Path) -> None:
    """What left the ring crosses the socket; what was lent meanwhile does not keep the loop from its slots."""
    with harness.bench(tmp_path, lends=True) as bench, harness.writer_of(bench) as writer:
        bench.start()
        bench.until(lambda: writer.hellos == 1, writer)
        bench.publish(3, writer)
        bench.until(lambda: len(writer.got) == 3, writer)
        bench.publish(200)
        bench.until(lambda: len(writer.got) == 203, writer)
        assert 3 <= writer.lent_frames < 203
        for seq, (data, parts) in writer.got.items():
            harness.assert_frame(seq, data, parts)
        assert writer.gaps == []

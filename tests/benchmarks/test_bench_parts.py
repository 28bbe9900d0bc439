"""What the parts cost that every frame passes: `make microbench`. Otherwise each runs once, as a test that it works."""

from __future__ import annotations

import os

import numpy as np
import pytest

from control.clock import FakeClock, SystemClock
from control.frame_telemetry import FrameTelemetry
from control.pacer import Pacer
from control.source import Draft
from transport import messages as msg
from transport.fetcher import Fetcher
from transport.records import EpisodeBegan, RecordKind
from transport.ring import LogRing
from transport.schema import HWC, LOOP_TELEMETRY, Kind, Schema, Stream
from transport.wire import parts_of
from writer.convert import Converter
from writer.journal import JournalWriter

CAMERAS, HEIGHT, WIDTH = 4, 480, 640
SCHEMA = Schema(
    (
        Stream("action", "float32", (6,)),
        Stream("observation.state", "float32", (6,)),
        *(Stream(f"observation.images.cam{i}", "uint8", (HEIGHT, WIDTH, 3), Kind.VIDEO, HWC) for i in range(CAMERAS)),
    )
)
PICTURES = np.random.default_rng(0).integers(0, 256, (CAMERAS, HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def ring():
    made = LogRing.create(SCHEMA, seconds=0.5, fps=60)
    made.append_event(EpisodeBegan(0, "bench"))
    return made


def filled(ring):
    slot = ring.next_slot()
    for to, picture in zip(slot.pictures, PICTURES, strict=True):
        np.copyto(to, picture)
    return ring.append_frame(0, 0)


# -- the loop ------------------------------------------------------------------------------------------------------


def test_pacer_without_sleeping(benchmark):
    clock = FakeClock()
    pacer = Pacer(60, clock)
    pacer.start()
    tick = benchmark(pacer.wait)
    assert tick.lateness_ns == 0


def test_clock_read(benchmark):
    assert benchmark(SystemClock().now_ns) > 0


def test_draft_of_the_next_slot(benchmark, ring):
    def draft():
        slot = ring.next_slot()
        return Draft(slot.row, slot.pictures)

    assert len(benchmark(draft).pictures) == CAMERAS


def test_telemetry_into_the_row(benchmark, ring):
    telemetry = FrameTelemetry(SCHEMA)
    slot = ring.next_slot()
    values = tuple(range(len(LOOP_TELEMETRY)))
    benchmark(telemetry.pack, slot, *values)
    assert slot.row["onbeat.started_ns"] == 1


def test_append_and_wake(benchmark, ring):
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK)

    def publish():
        seq = ring.append_frame(0, 0)
        os.eventfd_write(wake_fd, 1)
        ring.free_to(seq)
        return seq

    assert benchmark(publish) > 1
    os.close(wake_fd)


def test_copy_of_the_pictures(benchmark, ring):
    def copy():
        seq = filled(ring)
        ring.free_to(seq)
        return seq

    assert benchmark(copy) > 1


# -- the transport -------------------------------------------------------------------------------------------------


def test_parts_and_their_crcs(benchmark, ring):
    _, _, _, slot = ring.read(filled(ring))

    def parts():
        slot.header[3] = 0  # as after a new frame: the CRCs are not known
        return parts_of(RecordKind.FRAME, slot, SCHEMA)

    found, crcs = benchmark(parts)
    assert len(found) == len(crcs) == 1 + CAMERAS


def test_header_packed_and_read(benchmark):
    data = msg.Data(3, 0, 77, RecordKind.FRAME, 1, 5, 80, (1, 2, 3, 4, 5))
    assert benchmark(lambda: msg.unpack(msg.pack(data))) == data


def test_acceptance_of_a_frame(benchmark, ring):
    _, _, _, slot = ring.read(filled(ring))
    parts, crcs = parts_of(RecordKind.FRAME, slot, SCHEMA)
    wire = [memoryview(part).cast("B") for part in parts]
    fetcher = Fetcher(1, 0, SCHEMA, 1 << 40)

    def accept():
        return fetcher.accept(
            msg.Data(1, 0, fetcher.next_seq, RecordKind.FRAME, 0, 0, fetcher.next_seq, tuple(crcs)), wire
        )

    assert benchmark(accept)


# -- the writer ----------------------------------------------------------------------------------------------------


def test_colours_of_a_picture(benchmark):
    frame = benchmark(Converter(WIDTH, HEIGHT, "yuv420p"), PICTURES[0])
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)


def test_row_into_the_journal(benchmark, tmp_path, journal_header):
    journal = JournalWriter.create(tmp_path / "segment-000.mcap", journal_header(SCHEMA))
    row = np.zeros((), SCHEMA.row_dtype).tobytes()

    def write():
        journal.row(1, 0, row)
        journal.flush()

    benchmark(write)
    journal.finish()

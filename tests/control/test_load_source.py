"""The simulated robot against a clock that stands still, through the ring as the loop uses it."""

from __future__ import annotations

import mmap
import os
from itertools import pairwise

import numpy as np
import pytest

from control.clock import FakeClock
from control.envs import frame_code
from control.errors import SourceError
from control.load_frames import ReplayedFrames, SyntheticFrames
from control.load_pictures import PICTURES, forth_and_back, render
from control.load_source import LoadSource
from control.load_trace import TickTrace
from control.source import Draft, Mark
from transport.replay import ReplayEpisode, ReplayLayout
from transport.ring import LogRing
from transport.schema import CHW, HWC, Kind, Schema, Stream


def drive(source, clock, episodes):
    """What the loop does with a source; yields copies of (row, pictures) of every published frame."""
    ring = LogRing.create(source.schema, seconds=1, fps=20)

    def draft():
        slot = ring.next_slot()
        assert slot is not None
        return Draft(slot.row, slot.pictures)

    for episode in range(episodes):
        current = draft()
        source.begin(current)
        frame = 0
        while True:
            started_ns = clock.now_ns()
            outcome = source.tick(current)
            source.finish(current, Mark(0.0, False))
            current.row["onbeat.scheduled_ns"] = started_ns - 7
            current.row["onbeat.started_ns"] = started_ns
            current.row["onbeat.action_sent_ns"] = outcome.action_sent_ns
            ring.append_frame(episode, frame)
            frame += 1
            yield current.row.copy(), [picture.copy() for picture in current.pictures]
            clock.advance(1_000_000)
            if outcome.truncated:
                break
            ring.free_to(ring.head_seq)
            current = draft()
            source.stage(current)
    source.close()
    source.close()


def test_the_bus_blocks_before_and_after_the_action_and_every_tick_is_traced():
    clock, trace = FakeClock(5_000), TickTrace.create(6)
    source = LoadSource(SyntheticFrames(1, 64, 48, 6, 3), 4.0, clock, trace)
    assert len(list(drive(source, clock, 2))) == 6
    ticks = trace.ticks()
    assert ticks["episode"].tolist() == [0, 0, 0, 1, 1, 1]
    assert ticks["started_ns"].tolist() == [5_000 + k * 5_000_000 for k in range(6)]
    assert (ticks["action_sent_ns"] - ticks["started_ns"]).tolist() == [3_000_000] * 6
    assert (ticks["started_ns"] - ticks["scheduled_ns"]).tolist() == [7] * 6


def test_another_process_reads_the_trace():
    trace = TickTrace.create(2)
    row = np.zeros((), Schema(()).row_dtype)
    row["onbeat.started_ns"] = 99
    trace.append(4, row)
    other = TickTrace(os.dup(trace.fd))
    assert other.ticks()[["episode", "started_ns"]].tolist() == [(4, 99)]
    trace.append(4, row)
    with pytest.raises(SourceError, match="the load has taken 2 ticks, more than it was to"):
        trace.append(4, row)


def test_every_synthetic_picture_carries_its_number():
    clock = FakeClock()
    source = LoadSource(SyntheticFrames(3, 96, 64, 2, 20), 0, clock, TickTrace.create(40))
    frames = list(drive(source, clock, 2))
    numbers = [[frame_code.read(picture) for picture in pictures] for _, pictures in frames]
    assert numbers == [[(k, camera) for camera in range(3)] for k in range(40)]
    first, second = frames[0][1][0], frames[1][1][0]
    assert (first[24:] != second[24:]).any(), "pictures move"
    assert (frames[0][1][0][24:] != frames[0][1][1][24:]).any(), "cameras differ"
    states = [row["observation.state"].tolist() for row, _ in frames]
    assert len(set(map(tuple, states))) == 40


def test_without_cameras_there_are_rows():
    clock = FakeClock()
    rows = list(drive(LoadSource(SyntheticFrames(0, 1, 1, 6, 5), 0, clock, TickTrace.create(5)), clock, 1))
    assert len(rows) == 5


def test_pictures_go_forth_and_back_without_a_jump():
    shown = [forth_and_back(k) for k in range(4 * PICTURES)]
    assert set(shown) == set(range(PICTURES))
    assert {abs(a - b) for a, b in pairwise(shown)} == {1}
    assert [forth_and_back(k, 1) for k in range(3)] == [0, 0, 0]
    pictures = render(64, 48, 0)
    assert pictures.shape == (PICTURES, 48, 64, 3)
    assert (pictures == render(64, 48, 0)).all()


def layout_and_memory():
    streams = (
        Stream("observation.state", "float64", (2,), names=("x", "y")),
        Stream("next.done", "bool", (1,)),
        Stream("observation.images.a", "uint8", (4, 6, 3), Kind.VIDEO, HWC),
        Stream("observation.images.b", "uint8", (3, 5, 7), Kind.VIDEO, CHW),
    )
    layout = ReplayLayout(Schema(streams), 10, "arm", (ReplayEpisode(3, "lift"), ReplayEpisode(2, "drop")))
    fd = os.memfd_create("test")
    os.posix_fallocate(fd, 0, layout.nbytes)
    rows, pictures = layout.arrays(np.frombuffer(mmap.mmap(fd, layout.nbytes), np.uint8))
    random = np.random.default_rng(3)
    rows["observation.state"] = random.normal(size=(5, 2))
    rows["next.done"] = [[False], [False], [True], [False], [True]]
    for of_camera in pictures:
        of_camera[:] = random.integers(0, 256, of_camera.shape, np.uint8)
    return layout, fd, rows, pictures


def test_a_replay_gives_rows_and_pictures_as_they_lie_in_memory_and_begins_again():
    layout, fd, rows, pictures = layout_and_memory()
    clock = FakeClock()
    replayed = ReplayedFrames(fd, ReplayLayout.from_wire(layout.to_wire()))
    source = LoadSource(replayed, 0, clock, TickTrace.create(8))
    assert (source.schema, source.robot_type) == (layout.schema, "arm")
    found = list(drive(source, clock, 3))
    assert len(found) == 3 + 2 + 3
    for (row, shown), at in zip(found, (0, 1, 2, 3, 4, 0, 1, 2), strict=True):
        assert row["observation.state"].tolist() == rows["observation.state"][at].tolist()
        assert row["next.done"].tolist() == rows["next.done"][at].tolist()
        assert all((picture == of_camera[at]).all() for picture, of_camera in zip(shown, pictures, strict=True))

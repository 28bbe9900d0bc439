"""Pictures in shared memory: never torn, never older than the newest, whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.camera_memory import SLOTS, CaptureKind, PictureMemory, create_memory, region_bytes

HEIGHT, WIDTH = 6, 5


@pytest.fixture
def fd() -> Iterator[int]:
    made, _ = create_memory([(HEIGHT, WIDTH)])
    yield made
    os.close(made)


def uniform(value: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), value % 256, np.uint8)


class Killed(BaseException):
    """The writer ends in the middle of a picture."""


class Interleaved:
    """Copies row by row; between two rows the other side acts."""

    def __init__(self) -> None:
        self.between = lambda row: None

    def __call__(self, into: np.ndarray, source: np.ndarray) -> None:
        for row in range(HEIGHT):
            into[row] = source[row]
            self.between(row)


@given(
    writes=st.lists(st.integers(0, SLOTS + 2), min_size=1, max_size=12),
    killed_at=st.lists(st.none() | st.integers(0, HEIGHT - 1), min_size=40, max_size=40),
)
def test_a_reader_gets_a_whole_picture_no_older_than_the_newest(writes: list[int], killed_at: list[int | None]) -> None:
    fd, _ = create_memory([(HEIGHT, WIDTH)])
    writer_copy, reader_copy = Interleaved(), Interleaved()
    writer = PictureMemory(fd, 0, HEIGHT, WIDTH, copy=writer_copy)
    reader = PictureMemory(fd, 0, HEIGHT, WIDTH, copy=reader_copy)
    kills, todo = iter(killed_at), iter(writes)

    def write() -> None:
        """A picture, or the part of one that a killed writer leaves."""
        row_of_death = next(kills, None)

        def die(row: int) -> None:
            if row == row_of_death:
                raise Killed

        writer_copy.between = die
        seq = writer.newest_seq + 1
        try:
            assert writer.write(uniform(seq), capture_ns=seq * 10, kind=CaptureKind.DRIVER) == seq
        except Killed:
            assert writer.newest_seq == seq - 1

    def overtake(row: int) -> None:
        for _ in range(next(todo, 0)):
            write()

    into = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    reader_copy.between = overtake
    for _ in range(4):
        newest_before = reader.newest_seq
        shot = reader.read_newest(into)
        if shot is None:
            assert newest_before == 0
            write()
            continue
        assert shot.seq >= newest_before
        assert (into == uniform(shot.seq)).all()
        assert (shot.capture_ns, shot.kind) == (shot.seq * 10, CaptureKind.DRIVER)
    os.close(fd)


def test_a_reader_that_is_always_overtaken_says_so(fd: int) -> None:
    writer = PictureMemory(fd, 0, HEIGHT, WIDTH)
    copy = Interleaved()
    reader = PictureMemory(fd, 0, HEIGHT, WIDTH, copy=copy)

    def overtake(row: int) -> None:
        writer.write(uniform(0), 0, CaptureKind.ARRIVAL)

    overtake(0)
    copy.between = overtake
    with pytest.raises(OSError, match="overtook its reader"):
        reader.read_newest(np.zeros((HEIGHT, WIDTH, 3), np.uint8))


WRITER = """
import sys
import numpy as np
from control.camera_memory import CaptureKind, PictureMemory

memory = PictureMemory(int(sys.argv[1]), 0, 240, 320)
picture = np.zeros((240, 320, 3), np.uint8)
while True:
    picture[:] = (memory.newest_seq + 1) % 256
    memory.write(picture, 0, CaptureKind.ARRIVAL)
"""


def test_two_processes_at_full_speed() -> None:
    fd, _ = create_memory([(240, 320)])
    reader, into = PictureMemory(fd, 0, 240, 320), np.zeros((240, 320, 3), np.uint8)
    seen: set[int] = set()
    process = subprocess.Popen([sys.executable, "-P", "-c", WRITER, str(fd)], pass_fds=[fd])
    try:
        while len(seen) < 300:
            assert process.poll() is None
            shot = reader.read_newest(into)
            if shot is not None:
                assert (into == shot.seq % 256).all()
                seen.add(shot.seq)
    finally:
        process.kill()
        process.wait()
        os.close(fd)


def test_regions_do_not_overlap_and_failures_are_told() -> None:
    sizes = [(HEIGHT, WIDTH), (3, 3), (480, 640)]
    fd, offsets = create_memory(sizes)
    memories = [PictureMemory(fd, offset, *size) for offset, size in zip(offsets, sizes, strict=True)]
    assert os.fstat(fd).st_size == sum(region_bytes(*size) for size in sizes)
    for value, (memory, size) in enumerate(zip(memories, sizes, strict=True), 1):
        for _ in range(SLOTS):
            memory.write(np.full((*size, 3), value, np.uint8), value, CaptureKind.ARRIVAL)
    memories[1].fail("unplugged: " + "ü" * 2000)
    for value, (memory, size) in enumerate(zip(memories, sizes, strict=True), 1):
        into = np.zeros((*size, 3), np.uint8)
        shot = memory.read_newest(into)
        assert shot is not None
        assert shot.capture_ns == value
        assert (into == value).all()
    assert [memory.failures for memory in memories] == [0, 1, 0]
    assert memories[1].failure.startswith("unplugged: üü")
    os.close(fd)


@pytest.mark.parametrize(("written_since", "seq"), [(0, 2), (1, 2), (SLOTS - 1, 2), (SLOTS, 2 + SLOTS), (9, 11)])
def test_a_latched_picture_is_read_until_it_is_overwritten(written_since: int, seq: int) -> None:
    fd, _ = create_memory([(HEIGHT, WIDTH)])
    memory = PictureMemory(fd, 0, HEIGHT, WIDTH)
    os.close(fd)
    into = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for number in (1, 2):
        memory.write(np.full_like(into, number), number * 10, CaptureKind.ARRIVAL)
    latched_seq = memory.newest_seq
    for number in range(3, 3 + written_since):
        memory.write(np.full_like(into, number), number * 10, CaptureKind.ARRIVAL)
    shot = memory.read_newest(into, latched_seq)
    assert shot is not None
    assert (shot.seq, shot.capture_ns) == (seq, seq * 10)
    assert (into == seq).all()

"""A journal as a file: read whole, cut anywhere, damaged anywhere, on a full disk, by public readers."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from journal_cases import CAMERAS, ENDED, HEADER, VERDICT, packet, row
from mcap.reader import make_reader

from writer.errors import JournalError
from writer.journal import JournalHeader, JournalWriter, Segment, read_segment
from writer.journal_join import StoredPackets


@dataclass(frozen=True)
class Content:
    """Everything that a segment says, in a form that compares."""

    rows: tuple[Any, ...] = ()
    packets: tuple[Any, ...] = ((), ())
    extradata: tuple[Any, ...] = ()
    ended: Any = None
    verdict: Any = None


def content(segment: Segment) -> Content:
    return Content(
        tuple(segment.rows),
        tuple(tuple((p.pts, p.is_key, p.data) for p in StoredPackets(segment.packets[camera])) for camera in CAMERAS),
        tuple(sorted(segment.extradata.items())),
        segment.ended,
        segment.verdict,
    )


@dataclass(frozen=True)
class Written:
    """A journal's bytes, and what it held after each flush: (size of the file then, content)."""

    data: bytes
    states: tuple[tuple[int, Content], ...]


@pytest.fixture(scope="module")
def written() -> Written:
    """Twelve frames, a flush every three, then the end and the verdict, finished."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segment-000.mcap"
        journal = JournalWriter.create(path, HEADER)
        now = Content()
        states = [(path.stat().st_size, now)]

        def flushed() -> None:
            journal.flush()
            states.append((path.stat().st_size, now))

        for camera in CAMERAS:
            journal.extradata(camera, camera.encode())
            now = replace(now, extradata=(*now.extradata, (camera, camera.encode())))
        for index in range(12):
            journal.row(101 + index, index, row(index))
            now = replace(now, rows=(*now.rows, (101 + index, index, row(index))))
            packets = [packet(camera, index) for camera in CAMERAS]
            for camera, given_packet in zip(CAMERAS, packets, strict=True):
                journal.packet(camera, given_packet)
            both = zip(now.packets, packets, strict=True)
            now = replace(now, packets=tuple((*old, (new.pts, new.is_key, new.data)) for old, new in both))
            if index % 3 == 2:
                flushed()
        journal.ended(113, ENDED)
        now = replace(now, ended=(113, ENDED))
        flushed()
        journal.verdict(114, VERDICT)
        now = replace(now, verdict=(114, VERDICT))
        flushed()
        journal.finish()
        return Written(path.read_bytes(), tuple(states))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def read_bytes(folder: Path, data: bytes) -> Segment:
    path = folder / "damaged.mcap"
    path.write_bytes(data)
    return read_segment(path)


def expect(written: Written, folder: Path, data: bytes, intact: int, *, exact: bool) -> None:
    """Reading `data`, whose first `intact` bytes are as written, gives a state that was flushed, and not too early."""
    whole = [state for size, state in written.states if size <= intact]
    if not whole:
        try:
            segment = read_bytes(folder, data)
        except JournalError as error:
            assert "\n" not in str(error)  # noqa: PT017 - a header may survive damage to what nobody reads
            return
    else:
        segment = read_bytes(folder, data)
    got = content(segment)
    states = [state for _, state in written.states]
    assert got in states
    if whole:
        assert states.index(got) >= states.index(whole[-1])
        assert not exact or got == whole[-1]


def test_a_finished_segment_is_read_whole(written: Written, folder: Path) -> None:
    segment = read_bytes(folder, written.data)
    assert content(segment) == written.states[-1][1]
    assert segment.header == HEADER
    assert segment.finished
    assert segment.damage == ""
    assert segment.valid_bytes == written.states[-1][0]


def test_an_unfinished_segment_is_read_as_far_as_it_was_flushed(written: Written, folder: Path) -> None:
    for size, state in written.states:
        segment = read_bytes(folder, written.data[:size])
        assert content(segment) == state
        assert not segment.finished
        assert segment.damage == ""


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_cut_at_any_byte(written: Written, folder: Path, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(written.data)))
    expect(written, folder, written.data[:end], end, exact=True)


def test_cut_at_every_byte_around_each_flush(written: Written, folder: Path) -> None:
    for size, _ in written.states:
        for end in range(max(size - 60, 0), min(size + 60, len(written.data))):
            expect(written, folder, written.data[:end], end, exact=True)


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_flip_any_bit(written: Written, folder: Path, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(written.data) - 1))
    damaged = bytearray(written.data)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    expect(written, folder, bytes(damaged), place, exact=False)


def test_flip_every_bit_of_every_chunks_head(written: Written, folder: Path) -> None:
    """Opcode, lengths, times, CRC: the bytes that the CRC itself does not cover."""
    for size, _ in written.states[:-1]:
        for place in range(size, size + 60):
            for bit in range(8):
                damaged = bytearray(written.data)
                damaged[place] ^= 1 << bit
                expect(written, folder, bytes(damaged), place, exact=False)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_zero_any_tail(written: Written, folder: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(written.data)))
    zeroed = written.data[:start] + bytes(len(written.data) - start)
    expect(written, folder, zeroed, start, exact=False)
    # A file system that had already reserved room behind the end.
    expect(written, folder, written.data[:start] + bytes(5000), start, exact=False)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), noise=st.binary(min_size=1, max_size=200))
@example(data=None, noise=b"")
def test_overwrite_anything(written: Written, folder: Path, data: st.DataObject | None, noise: bytes) -> None:
    place = 0 if data is None else data.draw(st.integers(0, len(written.data)))
    expect(written, folder, written.data[:place] + noise + written.data[place + len(noise) :], place, exact=False)


def test_damage_is_told_and_what_comes_after_is_left(written: Written, folder: Path) -> None:
    size = written.states[1][0]
    damaged = bytearray(written.data)
    damaged[size + 200] ^= 4
    segment = read_bytes(folder, bytes(damaged))
    assert content(segment) == written.states[1][1]
    assert f"byte {size} of {len(damaged)}" in segment.damage
    assert not segment.finished


@pytest.mark.parametrize("data", [b"", b"\x89MCAP0\r\n", b"not a journal at all", bytes(4096)])
def test_a_file_without_a_header_is_an_error_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "segment-000.mcap"
    path.write_bytes(data)
    with pytest.raises(JournalError, match=r"segment-000\.mcap is not a journal") as raised:
        read_segment(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 9}, "version 9 found, expected 1"),
        ({"segment": -1}, "below zero"),
        ({"first_frame_index": "0"}, "below zero"),
        ({"schema": {"streams": []}}, "schema"),
        ({"spec": {}}, "specification"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_a_header_of_another_kind_is_refused(change: dict[str, Any], words: str) -> None:
    value = {**json.loads(HEADER.pack()), **change}
    with pytest.raises(JournalError, match=words):
        JournalHeader.unpack(json.dumps(value).encode())
    assert JournalHeader.unpack(HEADER.pack()) == HEADER


def test_public_readers_open_a_finished_journal(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "segment-000.mcap"
    path.write_bytes(written.data)
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        topics = {channel.topic: channel for channel in summary.channels.values()}
        assert set(topics) >= {"/header", "/rows", "/events", *(f"/video/{camera}" for camera in CAMERAS)}
        assert topics[f"/video/{CAMERAS[0]}"].metadata == {
            "codec": "h264",
            "pix_fmt": "yuv420p",
            "width": "64",
            "height": "48",
            "fps": "30",
        }
        messages = list(reader.iter_messages(log_time_order=False))
        assert len(messages) == summary.statistics.message_count
        # A row explains itself through its schema alone.
        rows = [(schema, message) for schema, channel, message in messages if channel.topic == "/rows"]
        assert rows[0][0] is not None
        columns = json.loads(rows[0][0].data)
        dtype = np.dtype([(name, kind, *map(tuple, shape)) for name, kind, *shape in columns])
        decoded = np.array([np.frombuffer(message.data, dtype)[0] for _, message in rows])
        assert decoded["onbeat.seq"].tolist() == list(range(101, 113))
        assert decoded["action"][:, 0].tolist() == list(range(12))
        assert [message.sequence for _, message in rows] == list(range(12))
        assert rows[3][1].log_time == 100_000_000
        header = next(message for _, channel, message in messages if channel.topic == "/header")
        assert json.loads(header.data)["task"] == HEADER.task


def test_a_segment_is_made_once_and_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "segment-000.mcap"
    JournalWriter.create(path, HEADER).close()
    assert read_segment(path).header == HEADER
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with pytest.raises(FileExistsError):
        JournalWriter.create(path, HEADER)


def test_a_full_disk_leaves_what_was_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "segment-000.mcap"
    journal = JournalWriter.create(path, HEADER)
    journal.row(101, 0, row(0))
    journal.flush()
    write = os.write

    def half(fd: int, data: Any) -> int:
        if len(data) <= 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    journal.row(102, 1, row(1))
    with pytest.raises(OSError, match="No space left"):
        journal.flush()
    monkeypatch.undo()
    journal.close()
    journal.close()
    segment = read_segment(path)
    assert [r.frame_index for r in segment.rows] == [0]
    assert "torn" in segment.damage or "check" in segment.damage


def test_a_large_flush_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without preemption keeps the loop waiting while it copies a piece."""
    path = tmp_path / "segment-000.mcap"
    journal = JournalWriter.create(path, HEADER)
    write, sizes = os.write, []

    def noted(fd: int, data: Any) -> int:
        sizes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", noted)
    for index in range(6000):
        journal.row(101 + index, index, row(index))
    journal.flush()
    monkeypatch.undo()
    journal.close()
    assert max(sizes) == 128 << 10
    assert [r.frame_index for r in read_segment(path).rows] == list(range(6000))


def test_a_disk_that_is_full_at_once_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        JournalWriter.create(tmp_path / "segment-000.mcap", HEADER)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []

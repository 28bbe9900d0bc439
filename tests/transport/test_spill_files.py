"""Spill files against a model: whatever was appended and not dropped is read back as it was, after any kill."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_strategies import small_schema

from transport import spill_files
from transport.errors import CodecError, DamagedSpillError, LogError
from transport.records import RecordKind
from transport.spill_files import SpillFiles, open_file, read_all
from transport.spill_format import RecordHeader, SpilledRecord

SESSION = "ab" * 16
SCHEMA = small_schema()


def make(folder: Path, file_bytes: int = 4000) -> SpillFiles:
    return SpillFiles(folder, SESSION, SCHEMA, file_bytes)


def parts_of(seq: int) -> list[bytes]:
    first = [bytes([seq % 251]) * (seq * 37 % 700 + 1), b"", seq.to_bytes(8, "little")]
    return first[: 1 + len(SCHEMA.pictures)] if seq % 7 else first[:1]  # every seventh is an event


def header_of(seq: int) -> RecordHeader:
    parts = parts_of(seq)
    crcs = tuple(zlib.crc32(part) for part in parts)
    return RecordHeader(RecordKind.FRAME, seq, seq // 10, seq % 10, tuple(map(len, parts)), crcs)


def append(files: SpillFiles, seq: int) -> None:
    files.append(header_of(seq), parts_of(seq))


def assert_holds(files: SpillFiles, first_seq: int, last_seq: int) -> None:
    for seq in range(first_seq, last_seq + 1):
        record = files.read(seq)
        assert record.header == header_of(seq)
        assert [bytes(part) for part in record.parts] == parts_of(seq)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 12)),
        st.tuples(st.just("durable"), st.integers(0, 15)),
        st.tuples(st.just("kill"), st.integers(0, 900)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_nothing_undelivered_is_lost_by_appends_drains_and_kills(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    files = make(folder)
    durable = last = 0
    for step, number in steps:
        if step == "append":
            for _ in range(number):
                last = max(last, durable) + 1
                append(files, last)
        elif step == "durable":
            durable += number
            files.drop_to(durable + 1)
        else:
            files.close()
            torn = sorted(folder.glob("*.spill"))
            if torn:  # a record that was being written: its first bytes, and no more
                seq = last + 1
                whole = header_of(seq).pack() + b"".join(parts_of(seq))
                with torn[-1].open("ab") as file:
                    file.write(whole[: min(number, len(whole) - 1)])
            files = make(folder)
        assert_holds(files, durable + 1, last)
        on_disk = sum(path.stat().st_size for path in folder.glob("*.spill"))
        assert on_disk == files.nbytes
    files.drop_to(max(durable, last) + 1)
    assert list(folder.glob("*.spill")) == []
    files.close()


def test_a_flipped_bit_costs_one_record_and_is_named(tmp_path: Path) -> None:
    files = make(tmp_path, 1 << 20)
    for seq in range(1, 6):
        append(files, seq)
    _, found = open_file(next(tmp_path.glob("*.spill")))
    offset = found.offsets[2] + header_of(3).nbytes
    os.pwrite(found.fd, bytes([os.pread(found.fd, 1, offset)[0] ^ 4]), offset)
    os.close(found.fd)
    with pytest.raises(CodecError, match="record 3 is damaged on disk"):
        files.read(3)
    assert_holds(files, 1, 2)
    assert_holds(files, 4, 5)
    files.close()
    everything = list(read_all(tmp_path))
    assert [isinstance(record, CodecError) for record in everything] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("at", "lost"),
    [
        ("record", {3}),  # a header of a record: what follows it in the file is found again
        ("file", set()),  # the header of the file: every record has its own check
        ("tail", {5}),
    ],
)
def test_what_is_whole_is_found_around_what_is_not(at: str, lost: set[int], tmp_path: Path) -> None:
    files = make(tmp_path, 1 << 20)
    for seq in range(1, 6):
        append(files, seq)
    files.close()
    (path,) = tmp_path.glob("*.spill")
    data = bytearray(path.read_bytes())
    if at == "tail":
        del data[-1:]
    else:
        data[data.index(header_of(3).pack()) + 9 if at == "record" else 30] ^= 1
    path.write_bytes(data)
    found = list(read_all(tmp_path))
    records = [record for record in found if isinstance(record, SpilledRecord)]
    assert [record.header for record in records] == [header_of(seq) for seq in range(1, 6) if seq not in lost]
    (error,) = [record for record in found if isinstance(record, DamagedSpillError)]
    assert error.path == path
    assert str(error).startswith(f"{path}: ")


def test_files_that_hold_nothing_readable_do_not_hide_the_others(tmp_path: Path) -> None:
    files = make(tmp_path, 1)
    for seq in range(1, 5):
        append(files, seq)
    files.close()
    empty, garbage, *_ = sorted(tmp_path.glob("*.spill"))
    os.truncate(empty, 0)
    garbage.write_bytes(os.urandom(200))
    found = list(read_all(tmp_path))
    assert [record.path for record in found[:2] if isinstance(record, DamagedSpillError)] == [empty, garbage]
    assert [record.header.seq for record in found[2:] if isinstance(record, SpilledRecord)] == [3, 4]


def test_a_disk_that_fills_up_in_the_middle_of_a_record_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make(tmp_path, 1 << 20)
    append(files, 1)
    real = os.pwritev

    def full(fd: int, buffers: list[memoryview], offset: int) -> int:
        real(fd, [bytes(buffers[0])[:5]], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill_files.os, "pwritev", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            append(files, 2)
    with pytest.raises(LogError, match="record 2 asked for, but the spill holds 1 to 1"):
        files.read(2)
    monkeypatch.undo()
    append(files, 2)
    assert_holds(files, 1, 2)
    files.close()
    assert_holds(make(tmp_path), 1, 2)


def test_the_files_of_another_session_are_not_taken_up(tmp_path: Path) -> None:
    files = make(tmp_path)
    append(files, 1)
    files.close()
    with pytest.raises(CodecError, match=f"belongs to session {SESSION}"):
        SpillFiles(tmp_path, "cd" * 16, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"GARBAGE!" + data[8:], "not a spill file"),
        (lambda data: data[:8] + b"\x09" + data[9:], "spill file version 9 found, expected 1"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "header of the spill file is damaged"),
        (lambda data: data[:12] + b"\xff\xff\xff\x7f" + data[16:], "header of 2147483647 bytes found"),
    ],
)
def test_what_is_no_spill_file_is_refused_in_words(tmp_path: Path, change: object, message: str) -> None:
    files = make(tmp_path)
    append(files, 1)
    files.close()
    path = next(tmp_path.glob("*.spill"))
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(CodecError, match=message):
        open_file(path)


def test_a_length_beyond_the_file_is_not_believed(tmp_path: Path) -> None:
    """A damaged header must not make anybody allocate what it claims."""
    files = make(tmp_path)
    append(files, 1)
    files.close()
    path = next(tmp_path.glob("*.spill"))
    huge = RecordHeader(RecordKind.FRAME, 2, 0, 0, (0xFFFFFFFF,), (0,))
    with path.open("ab") as file:
        file.write(huge.pack())
    files = make(tmp_path)
    assert (files.first_seq, files.last_seq) == (1, 1)
    files.close()

"""The spill of one session on disk: files of consecutive records, appended to at one end and deleted at the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transport.errors import CodecError, DamagedSpillError, LogError
from transport.schema import Schema
from transport.spill_format import (
    FileHeader,
    RecordHeader,
    SpilledRecord,
    is_other_version,
    next_header,
    read_header,
    read_record,
)
from transport.wire import Part

SUFFIX = ".spill"
# Drained files give their space back at once; a smaller size would only make more files.
FILE_BYTES = 256 << 20
_MAX_BUFFERS = 512  # of one writev; Linux takes 1024


@dataclass
class SpillFile:
    """One file: records `first_seq`, `first_seq + 1`, ... and where each begins."""

    path: Path
    fd: int
    first_seq: int
    size: int
    offsets: list[int] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.offsets) - 1

    def read(self, seq: int) -> SpilledRecord:
        """A record of this file, checked.

        Raises:
            CodecError: it is damaged.
            OSError: the disk cannot read it.
        """
        record = read_record(self.fd, self.offsets[seq - self.first_seq], self.size)
        if record.header.seq != seq:
            raise CodecError(f"record {record.header.seq} found where {seq} was written")
        return record


def open_file(path: Path) -> tuple[FileHeader, SpillFile]:
    """Open a spill file for reading, up to the last record that is whole.

    What a kill leaves is a torn last record; everything before it was written completely, and is checked as a whole
    when it is read.

    Raises:
        CodecError: it is no spill file of this version.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        header, offset = FileHeader.read(fd)
        found = SpillFile(path, fd, header.first_seq, os.fstat(fd).st_size)
        while offset < found.size:
            try:
                record = read_header(fd, offset, found.size)
                end = offset + record.nbytes + record.payload_bytes
                if end == found.size:
                    read_record(fd, offset, found.size)
            except CodecError:
                break
            if record.seq != found.last_seq + 1:
                break
            found.offsets.append(offset)
            offset = end
    except BaseException:
        os.close(fd)
        raise
    found.size = offset
    return header, found


class SpillFiles:
    """The files of one session in `folder`, which exists from the first append on.

    One thread appends, drops and removes; another may read what is neither being appended nor dropped.
    """

    def __init__(self, folder: Path, session_id: str, schema: Schema, file_bytes: int = FILE_BYTES) -> None:
        """Take up what an earlier process left.

        Raises:
            CodecError: a file of another session or version lies in the folder.
            OSError: the folder cannot be read.
        """
        self.folder = folder
        self._session_id = session_id
        self._schema = schema
        self._file_bytes = file_bytes
        self._appendable = False
        self._files: tuple[SpillFile, ...] = ()
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                header, found = open_file(path)
            except CodecError:
                if path.stat().st_size < len(FileHeader(session_id, 0, schema).pack()):
                    path.unlink()  # killed before its header was complete: nothing in it was ever called written
                    continue
                raise
            if header.session_id != session_id:
                raise CodecError(f"{path} belongs to session {header.session_id}; remove it")
            os.ftruncate(found.fd, found.size)
            if found.offsets:
                self._files += (found,)
            else:
                _delete(found)

    @property
    def first_seq(self) -> int:
        """The oldest record held; `last_seq + 1` when there is none."""
        files = self._files
        return files[0].first_seq if files else 1

    @property
    def last_seq(self) -> int:
        """The newest record held; 0 when there is none."""
        files = self._files
        return files[-1].last_seq if files else 0

    @property
    def nbytes(self) -> int:
        """On disk."""
        return sum(file.size for file in self._files)

    def next_held(self, seq: int) -> int | None:
        """The first record from `seq` on that is held."""
        return next((max(file.first_seq, seq) for file in self._files if seq <= file.last_seq), None)

    def read(self, seq: int) -> SpilledRecord:
        """A record, checked.

        Raises:
            LogError: it is not held.
            CodecError: it is damaged.
            OSError: the disk cannot read it.
        """
        file = self._find(seq)
        if file is None:
            raise LogError(f"record {seq} asked for, but the spill holds {self.first_seq} to {self.last_seq}")
        return file.read(seq)

    def append(self, header: RecordHeader, parts: Sequence[Part]) -> None:
        """Write the next record; after an error the files are as they were before.

        Raises:
            OSError: the disk cannot take it.
        """
        files = self._files
        if not files or not self._appendable or files[-1].size >= self._file_bytes or header.seq != self.last_seq + 1:
            self._files = files = (*files, self._create(header.seq))
            self._appendable = True
        file = files[-1]
        try:
            written = _write(file.fd, [header.pack(), *parts], file.size)
        except OSError:
            os.ftruncate(file.fd, file.size)
            if not file.offsets:
                self._files = files[:-1]
                _delete(file)
            raise
        file.size += written
        file.offsets.append(file.size - written)

    def drop_to(self, seq: int) -> None:
        """Delete the files that hold nothing from `seq` on."""
        while self._files and self._files[0].last_seq < seq:
            dropped, self._files = self._files[0], self._files[1:]
            _delete(dropped)

    def sync(self) -> None:
        """Wait until the disk has everything."""
        for file in self._files:
            os.fsync(file.fd)

    def close(self) -> None:
        for file in self._files:
            os.close(file.fd)
        self._files = ()

    def _create(self, first_seq: int) -> SpillFile:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{first_seq:020d}{SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            size = _write(fd, [FileHeader(self._session_id, first_seq, self._schema).pack()], 0)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return SpillFile(path, fd, first_seq, size)

    def _find(self, seq: int) -> SpillFile | None:
        return next((file for file in self._files if file.first_seq <= seq <= file.last_seq), None)


def paths_in(*folders: Path) -> list[Path]:
    """The spill files of one session's folders, in the order of their records."""
    return sorted((path for folder in folders for path in folder.glob(f"*{SUFFIX}")), key=lambda path: path.name)


def read_all(*folders: Path) -> Iterator[SpilledRecord | DamagedSpillError]:
    """Every record that lies in a session's spill folders, in order; the error in place of what is not whole."""
    for path in paths_in(*folders):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            yield DamagedSpillError(path, str(error.strerror))
            continue
        try:
            yield from _read_file(path, fd)
        finally:
            os.close(fd)


def _read_file(path: Path, fd: int) -> Iterator[SpilledRecord | DamagedSpillError]:
    size, offset, written_here = os.fstat(fd).st_size, 0, True
    try:
        _, offset = FileHeader.read(fd)
    except (CodecError, OSError) as error:
        yield DamagedSpillError(path, str(error))
        # Records have their own checks; only those of another version may mean something else.
        offset, written_here = next_header(fd, 0, size), not is_other_version(fd)
    while written_here and offset < size:
        try:
            header = read_header(fd, offset, size)
        except (CodecError, OSError) as error:
            yield DamagedSpillError(path, f"byte {offset} of {size}: {error}")
            offset = next_header(fd, offset + 1, size)
            continue
        try:
            yield read_record(fd, offset, size)
        except (CodecError, OSError) as error:
            yield DamagedSpillError(path, str(error))
        offset += header.nbytes + header.payload_bytes


def _write(fd: int, parts: Sequence[Part], offset: int) -> int:
    """Write all of `parts` at `offset`; returns their bytes."""
    left = [memoryview(part).cast("B") for part in parts]
    start = offset
    while left:
        count = os.pwritev(fd, left[:_MAX_BUFFERS], offset)
        offset += count
        while left and count >= len(left[0]):
            count -= len(left.pop(0))
        if count:
            left[0] = left[0][count:]
    return offset - start


def _delete(file: SpillFile) -> None:
    file.path.unlink(missing_ok=True)
    os.close(file.fd)

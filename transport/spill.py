"""The thread that moves records from the ring into the spill, so that no disk ever holds up the answers to FETCH.

Beside the spill files lies `session.json` for whoever finds them after a crash: whose log this is, where it was going,
and, once the publisher has gone for good, why.

Policy: a record counts as spilled once it is written; a kill of any process cannot lose it then. Nothing is synced
while the session goes on, because what is drained within seconds need not reach the disk at all: a power cut costs the
ring and what of the spill the kernel had not written back. `leave` syncs everything.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transport.errors import CodecError
from transport.ring import LogRing
from transport.spill_files import FILE_BYTES, SpillFiles
from transport.spill_format import RecordHeader, SpilledRecord
from transport.spill_lock import SpillLock
from transport.wire import parts_of

# Left free on the disk whatever is allowed, so that a full spill never takes the system down.
FLOOR_BYTES = 1 << 30
# Behind the name of a session's folder: of a second one, beside one whose files could not be taken up.
AGAIN = "-again"


@dataclass
class Batch:
    """Records on their way to disk; their slots are not free until it is done."""

    first_seq: int
    last_seq: int
    done: bool = False


class Spill(threading.Thread):
    """One session's spill. Every method but `finish` and `remove` returns at once.

    Args:
        folder: of this session.
        about: what `session.json` says beyond the session's id.
        wake: called from the thread when a batch is done.
    """

    def __init__(
        self,
        folder: Path,
        ring: LogRing,
        about: Mapping[str, Any],
        max_bytes: int,
        wake: Callable[[], None],
        *,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        super().__init__(name="spill", daemon=True)
        self.folder = folder
        self.max_bytes = max_bytes
        self.trouble = ""
        self._ring = ring
        self._about = dict(about)
        self._wake = wake
        self._floor_bytes = FLOOR_BYTES
        self._disk_room_bytes = max_bytes
        self._files = SpillFiles(folder, ring.session_id, ring.schema, min(file_bytes, max(max_bytes // 8, 1 << 20)))
        self._lock: SpillLock | None = None
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()

    # -- called by the publisher ---------------------------------------------------------------------------------

    @property
    def first_seq(self) -> int:
        """The oldest record held; `last_seq + 1` when there is none."""
        return self._files.first_seq

    @property
    def last_seq(self) -> int:
        """The newest record held; 0 when there is none."""
        return self._files.last_seq

    @property
    def nbytes(self) -> int:
        """On disk."""
        return self._files.nbytes

    @property
    def room_bytes(self) -> int:
        """What may still be written: of what is allowed, and of the disk as it was at the last write."""
        return max(min(self.max_bytes - self._files.nbytes, self._disk_room_bytes), 0)

    def next_held(self, seq: int) -> int | None:
        """The first record from `seq` on that is held."""
        return self._files.next_held(seq)

    def read(self, seq: int) -> SpilledRecord:
        """As `SpillFiles.read`; only for records that were not given to `drop_to`."""
        return self._files.read(seq)

    def move(self, first_seq: int, last_seq: int, *, unlimited: bool = False) -> Batch:
        """Write these records of the ring. What cannot be written is said in `trouble`, and may be tried again.

        Args:
            unlimited: beyond `max_bytes`, because there is nowhere else left.
        """
        batch = Batch(first_seq, last_seq)
        self._work.put(lambda: self._move(batch, unlimited))
        return batch

    def drop_to(self, seq: int) -> None:
        """Records before `seq` are durable."""
        self._work.put(lambda: self._files.drop_to(seq))

    def describe(self, state: str, reason: str = "") -> None:
        """Write `session.json`. `state` is "recording", or "left" when the publisher goes with records undelivered."""
        about = {"session_id": self._ring.session_id, **self._about, "state": state, "reason": reason}

        def write() -> None:
            self._hold()
            _replace(self.folder / "session.json", about)

        self._work.put(lambda: self._guarded(write))

    def sync(self) -> None:
        self._work.put(lambda: self._guarded(self._files.sync))

    def finish(self, timeout_s: float | None = None) -> bool:
        """Do what was asked for so far and end; False if that took longer than `timeout_s`."""
        self._work.put(None)
        self.join(timeout_s)
        return not self.is_alive()

    def remove(self) -> None:
        """Everything is delivered: after `finish`, delete the session's folder."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
        self.release()

    def release(self) -> None:
        """After `finish`, let others have the folder, as the end of the process does."""
        self._files.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # -- the thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        while (task := self._work.get()) is not None:
            task()

    def _move(self, batch: Batch, unlimited: bool) -> None:
        def write() -> None:
            for seq in range(batch.first_seq, batch.last_seq + 1):
                kind, episode_id, frame_index, slot = self._ring.read(seq)
                parts, crcs = parts_of(kind, slot, self._ring.schema)
                lengths = tuple(memoryview(part).nbytes for part in parts)
                header = RecordHeader(kind, seq, episode_id, frame_index, lengths, tuple(crcs))
                self._check_room(header.nbytes + header.payload_bytes, unlimited)
                self._files.append(header, parts)

        try:
            if self._guarded(write):
                self.trouble = ""
        finally:
            batch.done = True
            self._wake()

    def _check_room(self, nbytes: int, unlimited: bool) -> None:
        used = self._files.nbytes
        if not unlimited and used + nbytes > self.max_bytes:
            raise OSError(errno.EDQUOT, f"{used / 1e9:.2f} GB of --publisher.spill_max_gb are in use")
        self._hold()
        disk = os.statvfs(self.folder)
        free_bytes = disk.f_bavail * disk.f_frsize
        self._disk_room_bytes = free_bytes - self._floor_bytes
        if free_bytes < nbytes + (0 if unlimited else self._floor_bytes):
            raise OSError(errno.ENOSPC, f"{free_bytes / 1e9:.2f} GB are free on the disk of {self.folder}")

    def _hold(self) -> None:
        """Keep the folder, which comes into being, to this process for as long as it lives."""
        if self._lock is None:
            self._lock = SpillLock(self.folder)

    def _guarded(self, action: Callable[[], object]) -> bool:
        """Whether it worked; a disk's error is kept in `trouble` for the operator."""
        try:
            action()
        except OSError as error:
            self.trouble = f"{error.strerror}: {self.folder}" if error.filename else str(error.strerror or error)
            return False
        return True


def open_spill(
    spill_dir: str, ring: LogRing, about: Mapping[str, Any], max_bytes: int, wake: Callable[[], None]
) -> Spill:
    """The session's spill, started; with what an earlier publisher left in it."""
    folder = Path(spill_dir) / ring.session_id
    try:
        spill = Spill(folder, ring, about, max_bytes, wake)
    except (CodecError, OSError) as error:
        # What cannot be read there stays for people to look at; this session goes on beside it.
        spill = Spill(folder.with_name(folder.name + AGAIN), ring, about, max_bytes, wake)
        spill.trouble = str(error)
    spill.start()
    return spill


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

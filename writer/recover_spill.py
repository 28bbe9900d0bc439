"""Take in what a publisher left in its spill folder: the records that the writer never received.

They go through the same code as records from the network, into the session that they belong to. What is durable
already is passed over, so that a folder may be taken in again. A file that is not whole stays where it is.
"""

from __future__ import annotations

import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from transport import ledger
from transport import messages as msg
from transport.errors import CodecError, DamagedSpillError, OnbeatError, UsageError
from transport.spill import AGAIN
from transport.spill_files import paths_in, read_all
from transport.spill_format import RecordHeader, SpilledRecord
from transport.spill_lock import SpillLock
from writer import handshake
from writer.broken_off import BrokenOff, read_broken_off, write_broken_off
from writer.leftovers import sessions
from writer.open_session import OpenSession
from writer.refusals import Refusals
from writer.spilled_log import SpilledLog
from writer.workdir import SessionDir

_EPOCH = 1
_WAIT_S = 120.0


@dataclass(slots=True)
class _Feed:
    """Plays the publisher's part for one open session.

    Attributes:
        taken: records that the session did not have yet.
        missing: some before them are nowhere.
    """

    opened: OpenSession
    moved: threading.Event
    log: SpilledLog = field(default_factory=SpilledLog)
    taken: int = 0
    missing: bool = False

    def record(self, record: SpilledRecord) -> None:
        """Hand the next record over.

        Raises:
            CodecError: it cannot stand here in any log.
            OnbeatError: the journal is not written.
        """
        header = record.header
        if header.seq >= self.log.next_seq:
            self.log.take(record)
        fetch = self._room()
        if header.seq < fetch.from_seq:
            return
        if header.seq > fetch.from_seq:
            self.missing = True
            gap = msg.Gap(_EPOCH, fetch.generation, fetch.from_seq, header.seq - 1, "not in the spill folder either")
            self.opened.handle(gap, [])
        self.taken += 1
        data = msg.Data(
            _EPOCH,
            fetch.generation,
            header.seq,
            header.kind,
            header.episode_id,
            header.frame_index,
            header.seq,
            tuple(header.crcs),
        )
        self.opened.handle(data, list(record.parts))

    @property
    def at_its_end(self) -> bool:
        """Whether nothing of the session is durable that comes after what was spilled."""
        return self.log.next_seq >= self._room().from_seq

    def close(self, published: int | None) -> None:
        """End a log that breaks off; `published` as for `SpilledLog.closing`."""
        for event in self.log.closing(published):
            packed = event.pack()
            episode_id = getattr(event, "episode_id", -1)
            header = RecordHeader(event.kind, self.log.next_seq, episode_id, -1, (len(packed),), (zlib.crc32(packed),))
            self.record(SpilledRecord(header, [memoryview(packed)]))

    def wait_durable(self) -> None:
        """What was handed over is durable once the journal has come to the last record."""
        while self.opened.durable_seq < self.log.next_seq - 1:
            self._wait()

    def _room(self) -> msg.Fetch:
        while True:
            self.moved.clear()
            self.opened.look_after()
            fetch = self.opened.fetch()
            assert fetch is not None
            if fetch.max_bytes > 0:
                return fetch
            self._wait()

    def _wait(self) -> None:
        if not self.moved.wait(_WAIT_S):
            raise OnbeatError(f"the encoders took nothing for {_WAIT_S:g} s; run `onbeat recover` again")
        self.moved.clear()


@dataclass(frozen=True, slots=True)
class Spilled:
    """What lies in spill folders for one session; nobody else changes it meanwhile."""

    session: SessionDir
    folders: list[Path]


@contextmanager
def hold(root: Path, spill_dir: Path) -> Iterator[list[Spilled]]:
    """What lies below `spill_dir` for sessions that are beside `root`.

    Raises:
        UsageError: a publisher that lives has yet to deliver some of it.
    """
    with ExitStack() as held:
        found = []
        for session in sessions(root):
            # It may spill to another folder than this one.
            if (pid := ledger.holder(session.session_id)) is not None:
                raise UsageError(_lives(f"session {session.session_id[:8]}", f"in use by process {pid}"))
            folders = [spill_dir / f"{session.session_id}{suffix}" for suffix in ("", AGAIN)]
            folders = [folder for folder in folders if folder.is_dir()]
            for folder in folders:
                try:
                    held.callback(SpillLock(folder).release)
                except BlockingIOError as error:
                    raise UsageError(_lives(str(folder), str(error.strerror))) from error
            if folders:
                found.append(Spilled(session, folders))
        yield found


def _lives(what: str, by_whom: str) -> str:
    return (
        f"{what} is {by_whom}, a publisher that waits for its writer: wait for it to end, or end it with SIGTERM; it "
        "then leaves in its spill folder what was not delivered"
    )


def take_in(root: Path, spilled: Spilled, tell: Callable[[str], None]) -> list[str]:
    """Journal what was spilled; files that were whole are deleted.

    Returns:
        What is lost beyond that, one line each.

    Raises:
        OnbeatError: the session cannot be taken up, or its journal is not written.
    """
    damaged: set[Path] = set()
    lost = _take_records(root, spilled, tell, damaged) if paths_in(*spilled.folders) else []
    for folder in spilled.folders:
        for path in paths_in(folder):
            if path not in damaged:
                path.unlink()
        if not paths_in(folder):
            shutil.rmtree(folder)
    return lost


def _take_records(root: Path, spilled: Spilled, tell: Callable[[str], None], damaged: set[Path]) -> list[str]:
    session = handshake.again(root, spilled.session.session_id)
    assert session is not None, "sessions() lists those that have been agreed on"
    moved = threading.Event()
    opened = OpenSession(session, Refusals(), moved.set, lambda: None)
    try:
        opened.meet(b"spill", None, _EPOCH)
        feed = _Feed(opened, moved)
        for record in read_all(*spilled.folders):
            if isinstance(record, DamagedSpillError):
                damaged.add(record.path)
                tell(f"damaged  {record}")
                continue
            try:
                feed.record(record)
            except CodecError as error:
                feed.missing = True
                path = _file_of(record.header.seq, spilled)
                damaged.add(path)
                tell(f"damaged  {path}: record {record.header.seq}: {error}")
        taken = feed.taken
        # A log that was being closed when `recover` itself was killed goes on where it stopped.
        if not feed.log.ended and (feed.at_its_end or read_broken_off(spilled.session) is not None):
            feed.close(_note_end(spilled.session, feed.log))
        feed.wait_durable()
    finally:
        opened.close()
    where = " and ".join(map(str, spilled.folders))
    tell(f"took in   {taken} records of session {session.session_id[:8]} from {where}")
    if damaged and (feed.missing or not feed.log.ended):
        return [f"what is not whole in {path}, which stays there" for path in sorted(damaged)]
    return []


def _file_of(seq: int, spilled: Spilled) -> Path:
    return [path for path in paths_in(*spilled.folders) if int(path.stem) <= seq][-1]


def _note_end(session: SessionDir, log: SpilledLog) -> int | None:
    """Note how far the log goes beyond what was spilled, before it is closed; frames of the episode that is open."""
    noted = read_broken_off(session)
    if noted is None:
        noted = BrokenOff(log.newest_id, log.open_frames is not None, None)
        published = ledger.published(session.session_id)
        if log.newest_id in published or (published and not noted.is_open):
            frames = max(published.get(log.newest_id, 0), log.open_frames or 0)
            noted = BrokenOff(log.newest_id, noted.is_open, frames)
        for episode_id in sorted(set(published) - set(session.done())):
            # Noted on disk too: the ledger may be gone when this is called again.
            if episode_id > log.newest_id and published[episode_id]:
                detail = "nothing of it had reached the disk"
                session.set_done(episode_id, "aborted", detail=detail, published=published[episode_id])
        write_broken_off(session, noted)
    return noted.published

"""Take in what a publisher left in its spill folder: the records that the writer never received.

They go through the same code as records from the network, into the session that they belong to. What is durable
already is passed over, so that a folder may be taken in again.
"""

from __future__ import annotations

import shutil
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transport import messages as msg
from transport.errors import CodecError, OnbeatError
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
from transport.spill_files import read_all
from transport.spill_format import RecordHeader, SpilledRecord
from writer import handshake
from writer.leftovers import sessions
from writer.open_session import OpenSession
from writer.refusals import Refusals

_EPOCH = 1
_WAIT_S = 120.0


@dataclass(slots=True)
class _Log:
    """Where the log stands at the end of what was spilled, to be closed as a publisher closes it for control."""

    next_seq: int = 1
    open_episode: tuple[int, int] | None = None
    undecided: int | None = None
    ended: bool = False

    def take(self, record: SpilledRecord) -> None:
        header = record.header
        self.next_seq = header.seq + 1
        if header.kind is RecordKind.FRAME:
            self.open_episode = (header.episode_id, header.frame_index + 1)
            return
        event = unpack_event(header.kind, bytes(record.parts[0]))
        if isinstance(event, EpisodeBegan):
            self.open_episode = (event.episode_id, 0)
        elif isinstance(event, EpisodeEnded):
            self.open_episode, self.undecided = None, event.episode_id
        elif isinstance(event, Verdict):
            self.undecided = None
        else:
            self.ended = True

    def closing(self) -> list[Event]:
        events: list[Event] = []
        if self.ended:
            return events
        if self.open_episode is not None:
            events.append(EpisodeEnded(*self.open_episode, EndReason.ABORTED, "the recorder was killed"))
            self.undecided = self.open_episode[0]
        if self.undecided is not None:
            events.append(Verdict(self.undecided, Judgement.ABORTED))
        return [*events, SessionEnded("the recorder was killed")]


@dataclass(slots=True)
class _Feed:
    """Plays the publisher's part for one open session."""

    opened: OpenSession
    moved: threading.Event
    log: _Log = field(default_factory=_Log)

    def record(self, record: SpilledRecord) -> None:
        header = record.header
        self.log.take(record)
        fetch = self._room()
        if header.seq < fetch.from_seq:
            return
        if header.seq > fetch.from_seq:
            gap = msg.Gap(_EPOCH, fetch.generation, fetch.from_seq, header.seq - 1, "not in the spill folder either")
            self.opened.handle(gap, [])
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

    def close(self) -> None:
        for event in self.log.closing():
            packed = event.pack()
            episode_id = getattr(event, "episode_id", -1)
            header = RecordHeader(event.kind, self.log.next_seq, episode_id, -1, (len(packed),), (zlib.crc32(packed),))
            self.record(SpilledRecord(header, [memoryview(packed)]))
        # What was handed over is durable once the journal has come to the last record.
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


def take_in(root: Path, spill_dir: Path, tell: Callable[[str], None]) -> None:
    """Journal what lies below `spill_dir` for sessions that are beside `root`; what was taken in is deleted.

    Raises:
        OnbeatError: the session cannot be taken up, or its journal is not written.
    """
    for session_dir in sessions(root):
        folder = spill_dir / session_dir.session_id
        if not folder.is_dir():
            continue
        session = handshake.again(root, session_dir.session_id)
        assert session is not None, "sessions() lists those that have been agreed on"
        before = session_dir.progress()["durable_seq"]
        moved = threading.Event()
        opened = OpenSession(session, Refusals(), moved.set, lambda: None)
        try:
            opened.meet(b"spill", None, _EPOCH)
            feed = _Feed(opened, moved)
            for record in read_all(folder):
                if isinstance(record, CodecError):
                    tell(f"damaged  {folder}: {record}")
                else:
                    feed.record(record)
            feed.close()
        finally:
            opened.close()
        tell(f"took in   {feed.log.next_seq - 1 - before} records of session {session.session_id[:8]} from {folder}")
        shutil.rmtree(folder)

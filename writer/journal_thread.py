"""The thread that keeps a session's journal, so that disk stalls stay in it.

Ingest hands it rows, packets and events in log order; it appends them, syncs at most every quarter second, and only
then moves `durable_seq`.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from transport.records import EpisodeEnded, Verdict
from writer.encode_cost import EncodeRun
from writer.episode import Packet
from writer.journal_format import JournalHeader
from writer.journal_keeper import JournalKeeper
from writer.journal_queue import JournalQueue
from writer.workdir import SessionDir

_SYNC_INTERVAL_S = 0.25


def say(text: str) -> None:
    """One line for people, where no parent takes it."""
    print(text, file=sys.stderr, flush=True)


class JournalThread(threading.Thread):
    """Does in the order of the calls what `JournalKeeper` does; every method but `run` returns at once.

    Args:
        durable_seq: the newest record that is durable already.
        wake: called after `durable_seq` moved, an episode changed state, or something failed.
        episode_ready: called after an episode became ready to be committed.
        log: gets a line for people, from the thread.
        session_over: whether the session's end is durable already.
    """

    def __init__(
        self,
        session: SessionDir,
        durable_seq: int,
        wake: Callable[[], None],
        episode_ready: Callable[[], None],
        log: Callable[[str], object] = say,
        *,
        session_over: bool = False,
    ) -> None:
        super().__init__(name="journal", daemon=True)
        self._keeper = JournalKeeper(session, durable_seq, wake, episode_ready, log)
        self._keeper.session_over = session_over
        self._work = JournalQueue()

    @property
    def durable_seq(self) -> int:
        """Of the log up to here nothing is lost any more."""
        return self._keeper.durable_seq

    @property
    def session_over(self) -> bool:
        """Whether the session's end is durable."""
        return self._keeper.session_over

    @property
    def error(self) -> OSError | None:
        """What the disk refused with, first of all."""
        return self._keeper.error

    @property
    def warning(self) -> str:
        """One line once the disk has refused, else empty."""
        return self._keeper.warning

    @property
    def left(self) -> Mapping[int, str]:
        """Episodes whose final state the disk did not take, with why."""
        return dict(self._keeper.left)

    # -- called by ingest ----------------------------------------------------------------------------------------

    def begin(self, seq: int | None, header: JournalHeader, cameras: Iterable[str], durable_seq: int) -> None:
        self._work.put(lambda: self._keeper.begin(seq, header, list(cameras), durable_seq))

    def row(self, seq: int, frame_index: int, row: bytes) -> None:
        self._work.put(lambda: self._keeper.row(seq, frame_index, row), len(row))

    def packets(self, camera: str, packets: Sequence[Packet]) -> None:
        self._work.put(lambda: self._keeper.packets(camera, packets), sum(len(packet.data) for packet in packets))

    def extradata(self, camera: str, extradata: bytes) -> None:
        self._work.put(lambda: self._keeper.extradata(camera, extradata))

    def note(self, run: EncodeRun) -> None:
        self._work.put(lambda: self._keeper.note(run))

    def ended(self, seq: int, event: EpisodeEnded, detail: str = "") -> None:
        self._work.put(lambda: self._keeper.ended(seq, event, detail))

    def verdict(self, seq: int, event: Verdict) -> None:
        self._work.put(lambda: self._keeper.verdict(seq, event))

    def give_up(self) -> None:
        self._work.put(self._keeper.give_up)

    def lost(self, seq: int, event: Verdict, frames: int) -> None:
        self._work.put(lambda: self._keeper.lost(seq, event, frames))

    def passed(self, seq: int) -> None:
        self._work.put(lambda: self._keeper.passed(seq))

    def session_ended(self, seq: int) -> None:
        self._work.put(lambda: self._keeper.session_ended(seq))

    @property
    def waiting_bytes(self) -> int:
        """Of rows and packets that were handed over and are not appended yet."""
        return self._work.waiting_bytes

    def stop(self, timeout_s: float) -> None:
        """Sync what was given so far and end."""
        self._work.end()
        self.join(timeout_s)

    # -- the thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        next_sync_s = time.monotonic()
        while True:
            wait_s = max(next_sync_s - time.monotonic(), 0) if self._keeper.unsynced else None
            try:
                work = self._work.get(wait_s)
            except queue.Empty:
                work = self._keeper.sync, 0
            if work is None:
                self._attempt(self._keeper.sync)
                self._keeper.close()
                return
            task, nbytes = work
            self._attempt(task)
            self._work.done(nbytes)
            if self._keeper.unsynced and time.monotonic() >= next_sync_s:
                self._attempt(self._keeper.sync)
            if not self._keeper.unsynced:
                next_sync_s = time.monotonic() + _SYNC_INTERVAL_S

    def _attempt(self, task: Callable[[], None]) -> None:
        try:
            task()
        except OSError as error:
            self._keeper.fail(error)

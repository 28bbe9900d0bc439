"""A session's records on disk: appends to the open episode's journal, and moves episodes from state to state.

Everything here waits for the disk; `writer.journal_thread` does that away from ingest.

When the disk refuses, the log goes on without it: what was synced stays, the open episode is set aside with what it
lacks, and the rest of the log is let pass, so that the session can end in order. `error` says that it has to. An
episode that was whole by then stays whole: where it goes next is noted in the room of the reserve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transport.records import EpisodeEnded, Judgement, Verdict
from writer.durability import Wholeness
from writer.encode_cost import EncodeRun
from writer.episode import Packet
from writer.journal import JournalWriter
from writer.journal_format import JournalHeader
from writer.settle import settle
from writer.workdir import SessionDir


@dataclass
class _Open:
    """The episode whose journal is open."""

    episode_id: int
    journal: JournalWriter
    whole: Wholeness
    frames: int = 0
    detail: str = ""
    failed: bool = False


class JournalKeeper:
    """Takes records in log order; whoever calls hands each OSError to `fail` and goes on.

    Args:
        durable_seq: the newest record that is durable already.
        wake: called after `durable_seq` moved, an episode changed state, or something failed.
        episode_ready: called after an episode became ready to be committed.
        log: gets a line for people.

    Attributes:
        durable_seq: of the log up to here nothing is lost any more.
        unsynced: whether `sync` would make more durable.
        error: what the disk refused with, first of all.
        session_over: whether the session's end is durable.
        left: episodes whose final state the disk did not take, with why; they are for `onbeat recover`.
    """

    def __init__(
        self,
        session: SessionDir,
        durable_seq: int,
        wake: Callable[[], None],
        episode_ready: Callable[[], None],
        log: Callable[[str], object],
    ) -> None:
        self.durable_seq = durable_seq
        self.unsynced = False
        self.error: OSError | None = None
        self.session_over = False
        self.left: dict[int, str] = {}
        self._session = session
        self._wake = wake
        self._episode_ready = episode_ready
        self._log = log
        self._open: _Open | None = None
        # Of the latest episode, frames 0 to this less one are synced.
        self._durable_frames = 0
        # Frames of the latest episode as its end says, also when no journal took it.
        self._published: int | None = None

    @property
    def warning(self) -> str:
        """One line once the disk has refused, else empty."""
        return "" if self.error is None else f"{_words(self.error)}: the session ends, what was recorded before is kept"

    def begin(self, seq: int | None, header: JournalHeader, cameras: list[str], durable_seq: int) -> None:
        """Open a segment; `seq` is the EPISODE_BEGAN record's, None when an episode is taken up again."""
        self._open = self._published = None
        self._durable_frames = header.first_frame_index
        folder = self._session.episode("recording", header.episode_id)
        folder.mkdir(exist_ok=True)
        journal = JournalWriter.create(folder / f"segment-{header.segment:03d}.mcap", header)
        whole = Wholeness(cameras, durable_seq, header.first_frame_index)
        self._open = _Open(header.episode_id, journal, whole, frames=header.first_frame_index)
        if seq is not None:
            whole.event(seq)
            self._move_durable(whole.whole_seq)

    def row(self, seq: int, frame_index: int, row: bytes) -> None:
        """Append a frame's row."""
        episode = self._opened()
        if episode is None:
            self._let_pass(seq)
            return
        episode.journal.row(seq, frame_index, row)
        episode.whole.row(seq, frame_index)
        episode.frames += 1
        self.unsynced = True

    def packets(self, camera: str, packets: Sequence[Packet]) -> None:
        """Append what a camera's encoder gave."""
        episode = self._opened()
        if episode is None:
            return
        for packet in packets:
            episode.journal.packet(camera, packet)
            episode.whole.packet(camera, packet.pts)
        self.unsynced = True

    def extradata(self, camera: str, extradata: bytes) -> None:
        """Append what a decoder of the camera's packets needs to know."""
        episode = self._opened()
        if episode is not None:
            episode.journal.extradata(camera, extradata)

    def note(self, run: EncodeRun) -> None:
        """Leave figures of the open episode beside its journal."""
        episode = self._opened()
        if episode is None:
            return
        try:
            run.leave(self._session.episode("recording", episode.episode_id))
        except OSError as error:
            self._log(f"the report lacks what encoding episode {episode.episode_id} cost: {_words(error)}")

    def give_up(self) -> None:
        """Packets of the open episode will never come; the log goes on without them."""
        if self._open is not None:
            self._open.whole.give_up()
            self.unsynced = True

    def ended(self, seq: int, event: EpisodeEnded, detail: str) -> None:
        """`detail` says what the episode lacks beyond the event's own words; such an episode is never committed."""
        self._published = event.frames
        episode = self._opened()
        if episode is None:
            self._let_pass(seq)
            return
        if detail and episode.whole.frames < event.frames:
            detail = f"frames {episode.whole.frames} to {event.frames - 1}: {detail}"
        episode.detail = detail
        episode.journal.ended(seq, event)
        episode.whole.event(seq)
        self.sync()

    def verdict(self, seq: int, event: Verdict) -> None:
        """Close the journal, and move the open episode to where it goes from here."""
        episode = self._opened()
        if episode is None:
            frames, lacking = self._durable_frames, _words(self.error)
            if frames != self._published:
                lacking = f"frames from {frames} on: {lacking}"
        else:
            frames, lacking = episode.frames, episode.detail
            try:
                episode.journal.verdict(seq, event)
                episode.journal.finish()
            except OSError as error:
                # All up to the episode's end is synced, and the folder that it moves to tells the verdict.
                self.fail(error)
        self._open = None
        self.unsynced = False
        published = self._published
        self._conclude(
            seq,
            event.episode_id,
            lambda: settle(self._session, event, seq, frames=frames, lacking=lacking, published=published),
        )

    def lost(self, seq: int, event: Verdict, frames: int) -> None:
        """The verdict on an episode of which nothing is here, because its beginning was lost on the way."""
        state = "discarded" if event.judgement is Judgement.DISCARD else "aborted"
        detail = f"frames 0 to {frames - 1}: its beginning was lost on the way" if frames else ""
        self._conclude(
            seq,
            event.episode_id,
            lambda: self._session.set_done(event.episode_id, state, detail=detail, published=frames),
        )

    def passed(self, seq: int) -> None:
        """A record that leaves nothing behind."""
        if self._open is None:
            self._move_durable(seq)
        else:
            self._open.whole.event(seq)
            self.unsynced = True

    def session_ended(self, seq: int) -> None:
        """Note that the log is over."""
        try:
            self._session.set_progress(seq, session_ended=True)
        finally:
            self.session_over = True
            self._move_durable(seq)

    def sync(self) -> None:
        """Make durable what was appended."""
        self.unsynced = False
        if self._open is not None and not self._open.failed:
            whole_seq, frames = self._open.whole.whole_seq, self._open.whole.frames
            self._open.journal.flush()
            self._open.journal.sync()
            self._durable_frames = frames
            self._move_durable(whole_seq)

    def fail(self, error: OSError) -> None:
        """The disk refused: set the open episode aside."""
        if self.error is None:
            self.error = error
        self._session.drop_reserve()
        if self._open is not None:
            self._open.failed = True
            self._open.journal.close()
            self._open.detail = self._open.detail or _words(error)
            self._open.whole.give_up()
        self.unsynced = False
        self._wake()

    def close(self) -> None:
        """Let go of the open journal as it is."""
        if self._open is not None:
            self._open.journal.close()

    def _opened(self) -> _Open | None:
        """The open episode if its journal takes records; None after the disk refused."""
        assert self._open is not None or self.error is not None, "a record of an episode came before it began"
        return None if self._open is None or self._open.failed else self._open

    def _conclude(self, seq: int, episode_id: int, note: Callable[[], None]) -> None:
        """Note what became of an episode; on a full disk once more, in the room of the reserve."""
        try:
            note()
        except OSError as error:
            self.fail(error)
            try:
                note()
            except OSError as again:
                self.left[episode_id] = f"{_words(again)} to note its end; make room and run `onbeat recover`"
        finally:
            self._move_durable(seq)
            self._episode_ready()

    def _let_pass(self, seq: int) -> None:
        """The disk refused: the log must not wait for what cannot be written."""
        if self._open is not None:
            self._open.whole.event(seq)
        self._move_durable(seq)

    def _move_durable(self, seq: int) -> None:
        if seq > self.durable_seq:
            self.durable_seq = seq
        self._wake()


def _words(error: OSError | None) -> str:
    return "" if error is None else f"the writer's disk refused ({error.strerror or error})"

"""The session that ingest serves: what was asked for and received, where it goes, and what the recorder is told.

No sockets here: messages come in, messages to send go out.
"""

from __future__ import annotations

import queue
import shutil
import time
from collections.abc import Callable, Iterator

from transport import messages as msg
from transport.errors import CodecError, OnbeatError
from transport.fetcher import Fetcher
from transport.lent_pictures import LentPictures
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
from writer.handshake import Session
from writer.journal_format import JournalHeader
from writer.journal_thread import JournalThread, say
from writer.log_order import LogOrder
from writer.recording import Recording
from writer.refusals import Refusals
from writer.resume import standing
from writer.upload_note import read_note

WINDOW_BYTES = 96 << 20
# What becomes of these is part of every reconnection; the rest is worth a line.
_ORDINARY = frozenset(["other epoch", "older request", "repeated", "stale gap", "no longer lent"])


class OpenSession:
    """Takes a session up where its journals end.

    Args:
        wake: called from other threads when there is something to do here.
        tell_committer: called after an episode became ready.
        log: gets a line for people, from another thread.
        lent: where a recorder on this machine may leave pictures.

    Raises:
        OnbeatError: the journals contradict each other.
        OSError: they cannot be read or written.
    """

    def __init__(
        self,
        session: Session,
        refusals: Refusals,
        wake: Callable[[], None],
        tell_committer: Callable[[], None],
        log: Callable[[str], object] = say,
        *,
        lent: LentPictures | None = None,
    ) -> None:
        folder = session.folder
        state = standing(folder)
        newest_id = max([*folder.done(), *folder.ready(), *folder.aborted()], default=-1)
        self.session = session
        self.peer: bytes | None = None
        self.connection: int | None = None
        self.last_word_s = time.monotonic()
        self._refusals, self._lent = refusals, lent
        self._fetcher: Fetcher | None = None
        self._probed_bytes = 0
        self._consumed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._wake = wake
        self._ended = state.session_ended
        self._told: set[int] = set()
        self._recording: Recording | None = None
        # Of an episode whose beginning fell into a gap.
        self._unbegun_frames = 0
        self._journal = JournalThread(folder, state.durable_seq, wake, tell_committer, log)
        self._journal.session_over = state.session_ended
        self._journal.start()
        is_open = None
        if state.open is not None:
            is_open = (state.open.episode_id, state.open.frames, state.open.ended)
            self._recording = self._new_recording(state.open.episode_id, state.open.frames)
            header = self._header(
                state.open.episode_id, state.open.task, state.open.next_segment, state.open.frames, None
            )
            self._journal.begin(None, header, self._cameras(), state.durable_seq)
        self._order = LogOrder(is_open, newest_id)

    @property
    def durable_seq(self) -> int:
        return self._journal.durable_seq

    @property
    def empty(self) -> bool:
        """Whether no episode has begun yet."""
        return self._order.newest_id < 0

    @property
    def epoch(self) -> int:
        """Of the present connection; -1 before the first."""
        return -1 if self._fetcher is None else self._fetcher.epoch

    @property
    def finished(self) -> bool:
        """Whether the log is over and everything in it has become part of the dataset."""
        folder = self.session.folder
        if not (self._ended and self._journal.session_over) or folder.ready():
            return False
        return self.session.spec.upload is None or self._upload(-1).settled

    def meet(self, peer: bytes, connection: int | None, epoch: int) -> msg.Welcome:
        """The recorder is at `peer` from now on; what it is told."""
        received_seq, waiting_bytes = self._journal.durable_seq, 0
        if self._fetcher is not None:
            received_seq, waiting_bytes = self._fetcher.received_seq, self._fetcher.waiting_bytes
        self._fetcher = Fetcher(
            epoch, received_seq, self.session.schema, WINDOW_BYTES, waiting_bytes=waiting_bytes, lent=self._lent
        )
        self.peer, self.connection = peer, connection
        self.last_word_s = time.monotonic()
        self._probed_bytes = 0
        self._told.clear()
        return msg.Welcome(epoch, self._journal.durable_seq, str(self.session.root))

    def handle(self, message: msg.Message, parts: list[memoryview]) -> bool:
        """Take a message of the session's recorder; True when the session is over.

        Raises:
            CodecError: it is not for the writer, or cannot be in any log.
        """
        if self._fetcher is None:
            raise CodecError("a message before HELLO")
        self.last_word_s = time.monotonic()
        if isinstance(message, msg.Data):
            self._data(self._fetcher, message, parts)
        elif isinstance(message, msg.Head):
            self._fetcher.head(message)
        elif isinstance(message, msg.Gap):
            if self._fetcher.gap(message) and self._recording is not None:
                self._recording.lose(f"records {message.first_seq} to {message.last_seq}: {message.reason}")
        elif isinstance(message, msg.Bye):
            return message.epoch == self._fetcher.epoch and (self.finished or self.empty)
        else:
            raise CodecError("what only a writer says")
        return False

    def probed(self, message: msg.Probe, parts: list[memoryview]) -> msg.Probed:
        """The answer to a PROBE."""
        if message.epoch == self.epoch:
            self._probed_bytes += sum(part.nbytes for part in parts)
        return msg.Probed(message.epoch, self._probed_bytes)

    def fetch(self) -> msg.Fetch | None:
        """What to ask the recorder for now."""
        if self._fetcher is None:
            return None
        return self._fetcher.fetch(self._journal.durable_seq, unwritten_bytes=self._journal.waiting_bytes)

    def beat(self, warning: str) -> Iterator[msg.Message]:
        """What the recorder is told four times a second: final states of episodes, then figures."""
        if self._fetcher is None:
            return
        # Asked first: what is settled by now is told before the word that everything is.
        finished = self.finished
        for episode_id, final in self.session.folder.done(known=self._told).items():
            self._told.add(episode_id)
            values = (final["state"], final["index"], final["frames"], final["missing"], final["detail"])
            yield msg.Episode(self._fetcher.epoch, episode_id, *values)
        for episode_id, why in dict(self._journal.left).items():
            if episode_id not in self._told:
                self._told.add(episode_id)
                yield msg.Episode(self._fetcher.epoch, episode_id, "failed", -1, 0, 0, why)
        if self.session.spec.upload is not None:
            yield self._upload(self._fetcher.epoch)
        lacks = self._journal.warning
        if not lacks and self._recording is not None and self._recording.lacking:
            lacks = f"episode {self._recording.episode_id} lacks frames: {self._recording.lacking}"
        if lacks:
            warning = f"{lacks}; {warning}" if warning else lacks
        yield msg.Status(
            self._fetcher.epoch,
            self._fetcher.received_seq,
            self._journal.durable_seq,
            len(self.session.folder.ready()),
            0 if self._journal.error else shutil.disk_usage(self.session.root.parent).free,
            finished,
            warning,
        )

    def _upload(self, epoch: int) -> msg.Upload:
        note = read_note(self.session.root) if self._ended else None
        if note is None or note.session_id != self.session.session_id:
            return msg.Upload(epoch, msg.UploadState.WAITING, self.session.remark)
        return msg.Upload(epoch, note.state, note.detail or note.repo_id)

    def look_after(self) -> None:
        """Note what encoders are done with, and what was refused.

        Raises:
            OnbeatError: nobody writes the journal any more.
        """
        if not self._journal.is_alive():
            raise OnbeatError("the journal's thread ended; the session is taken up again")
        if self._fetcher is None:
            return
        while True:
            try:
                self._fetcher.consumed(self._consumed.get_nowait())
            except queue.Empty:
                break
        for reason in [reason for reason in self._fetcher.refused if reason not in _ORDINARY]:
            self._refusals.message(reason, self._fetcher.refused.pop(reason))

    def close(self) -> None:
        """Sync what there is and let go; the next one goes on from there."""
        if self._recording is not None:
            self._recording.abandon()
        self._journal.stop(timeout_s=10)

    # -- records -------------------------------------------------------------------------------------------------

    def _data(self, fetcher: Fetcher, data: msg.Data, parts: list[memoryview]) -> None:
        if fetcher.waiting_bytes >= WINDOW_BYTES or self._journal.waiting_bytes >= 2 * WINDOW_BYTES:
            # The recorder stops by itself before; whoever does not must not fill the memory.
            fetcher.refused["not asked for"] += 1
            return
        record = fetcher.accept(data, parts)
        if record is not None:
            self._take(data, record)

    def _take(self, data: msg.Data, parts: list[memoryview]) -> None:
        waiting = [part.nbytes for part in parts]
        try:
            if data.kind == RecordKind.FRAME:
                self._order.frame(data.episode_id, data.frame_index)
                if self._frame(data, parts):
                    waiting = waiting[:1]  # the pictures are the encoders' now
            else:
                event = _event_of(data, parts[0])
                had_ended = self._order.has_ended
                self._order.event(event)
                self._event(data.seq, event, had_ended=had_ended)
        except CodecError:
            self._journal.passed(data.seq)
            raise
        finally:
            self._consumed.put(sum(waiting))

    def _frame(self, data: msg.Data, parts: list[memoryview]) -> bool:
        if self._recording is None or self._recording.episode_id != data.episode_id:
            # Its beginning fell into a gap, which has been said already.
            self._journal.passed(data.seq)
            return False
        self._recording.frame(data.seq, data.frame_index, bytes(parts[0]), parts[1:])
        return True

    def _event(self, seq: int, event: Event, *, had_ended: bool) -> None:
        recording = self._recording
        if isinstance(event, EpisodeBegan | SessionEnded):
            if recording is not None:
                self._end_lost(seq - 1, recording, had_ended=had_ended)
                self._journal.verdict(seq - 1, Verdict(recording.episode_id, Judgement.ABORTED))
        elif recording is None or recording.episode_id != event.episode_id:
            if isinstance(event, Verdict):
                self._journal.lost(seq, event, self._unbegun_frames)
            else:
                self._unbegun_frames = event.frames
                self._journal.passed(seq)
            return
        if isinstance(event, EpisodeBegan):
            self._recording = self._new_recording(event.episode_id, 0)
            self._journal.begin(seq, self._header(event.episode_id, event.task, 0, 0, seq), self._cameras(), seq - 1)
        elif isinstance(event, SessionEnded):
            self._recording = None
            self._journal.session_ended(seq)
            self._ended = True
        elif isinstance(event, EpisodeEnded):
            assert recording is not None
            recording.end(seq, event)
        else:
            assert recording is not None
            self._end_lost(seq, recording, had_ended=had_ended)
            self._journal.verdict(seq, event)
            self._recording = None

    def _end_lost(self, seq: int, recording: Recording, *, had_ended: bool) -> None:
        """Close an episode whose end fell into a gap; it is never committed."""
        if not had_ended:
            detail = "its end was lost on the way"
            recording.lose(detail)
            recording.end(seq, EpisodeEnded(recording.episode_id, recording.frames, EndReason.ABORTED, detail))

    def _new_recording(self, episode_id: int, frames: int) -> Recording:
        return Recording(
            episode_id,
            self.session.schema,
            self.session.spec.fps,
            self.session.codecs,
            self._journal,
            self._on_consumed,
            frames=frames,
        )

    def _header(
        self, episode_id: int, task: str, segment: int, first_frame_index: int, began_seq: int | None
    ) -> JournalHeader:
        return JournalHeader(
            session_id=self.session.session_id,
            episode_id=episode_id,
            task=task,
            segment=segment,
            first_frame_index=first_frame_index,
            schema=self.session.schema.to_wire(),
            spec=self.session.spec.to_wire(),
            codec_options=self.session.codec.options,
            began_seq=began_seq,
        )

    def _cameras(self) -> list[str]:
        return [stream.key for stream in self.session.schema.pictures]

    def _on_consumed(self, nbytes: int) -> None:
        self._consumed.put(nbytes)
        self._wake()


def _event_of(data: msg.Data, part: memoryview) -> Event:
    try:
        return unpack_event(data.kind, bytes(part))
    except CodecError as error:
        # The reason is counted, so it must not be the sender's to choose.
        raise CodecError("a record of no known form") from error

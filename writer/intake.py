"""Where a session's records go: to the recording that is open, to its journal, and no further what a gap left alone.

Takes a session up where its journals end. Called by ingest's loop alone; encoders and the journal have threads of their
own.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping

from transport import messages as msg
from transport.errors import CodecError
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
from writer.journal_thread import JournalThread
from writer.log_order import LogOrder
from writer.recording import Recording
from writer.resume import standing


class Intake:
    """What has come of a session's log.

    Args:
        wake: called from other threads when there is something to ask here.
        tell_committer: called after an episode became ready.
        log: gets a line for people, from another thread.

    Raises:
        OnbeatError: the journals contradict each other.
        OSError: they cannot be read or written.
    """

    def __init__(
        self,
        session: Session,
        wake: Callable[[], None],
        tell_committer: Callable[[], None],
        log: Callable[[str], object],
    ) -> None:
        folder = session.folder
        state = standing(folder)
        newest_id = max([*folder.done(), *folder.ready(), *folder.aborted()], default=-1)
        self._session = session
        self._consumed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._wake = wake
        self._ended = state.session_ended
        self._recording: Recording | None = None
        # Of an episode whose beginning fell into a gap.
        self._unbegun_frames = 0
        self._journal = JournalThread(
            folder, state.durable_seq, wake, tell_committer, log, session_over=state.session_ended
        )
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
        """The newest record that is safe on disk."""
        return self._journal.durable_seq

    @property
    def unwritten_bytes(self) -> int:
        """Of rows and packets that wait for the disk."""
        return self._journal.waiting_bytes

    @property
    def empty(self) -> bool:
        """Whether no episode has begun yet."""
        return self._order.newest_id < 0

    @property
    def ended(self) -> bool:
        """Whether the end of the session has come."""
        return self._ended

    @property
    def over(self) -> bool:
        """Whether it has come and is safe on disk."""
        return self._ended and self._journal.session_over

    @property
    def disk_refused(self) -> bool:
        return self._journal.error is not None

    @property
    def left(self) -> Mapping[int, str]:
        """Episodes whose final state the disk did not take, with why."""
        return self._journal.left

    @property
    def lacks(self) -> str:
        """One line on what is missing for good, else empty."""
        if not self._journal.warning and self._recording is not None and self._recording.lacking:
            return f"episode {self._recording.episode_id} lacks frames: {self._recording.lacking}"
        return self._journal.warning

    def alive(self) -> bool:
        """Whether somebody writes the journal."""
        return self._journal.is_alive()

    def take(self, data: msg.Data, parts: list[memoryview]) -> None:
        """Take the next record; its bytes come back from `consumed` when nobody needs them any more.

        Raises:
            CodecError: it cannot be in any log.
        """
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

    def lose(self, reason: str) -> None:
        """Records are gone that the open episode, if there is one, would have had."""
        if self._recording is not None:
            self._recording.lose(reason)

    def consumed(self) -> Iterator[int]:
        """How many bytes of what was taken are not needed any more, since the last call."""
        while True:
            try:
                yield self._consumed.get_nowait()
            except queue.Empty:
                return

    def close(self) -> None:
        """Sync what there is and let go; the next one goes on from there."""
        if self._recording is not None:
            self._recording.abandon()
        self._journal.stop(timeout_s=10)

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
            self._session.schema,
            self._session.spec.fps,
            self._session.codecs,
            self._journal,
            self._on_consumed,
            frames=frames,
        )

    def _header(
        self, episode_id: int, task: str, segment: int, first_frame_index: int, began_seq: int | None
    ) -> JournalHeader:
        return JournalHeader(
            session_id=self._session.session_id,
            episode_id=episode_id,
            task=task,
            segment=segment,
            first_frame_index=first_frame_index,
            schema=self._session.schema.to_wire(),
            spec=self._session.spec.to_wire(),
            codec_options=self._session.codec.options,
            began_seq=began_seq,
        )

    def _cameras(self) -> list[str]:
        return [stream.key for stream in self._session.schema.pictures]

    def _on_consumed(self, nbytes: int) -> None:
        self._consumed.put(nbytes)
        self._wake()


def _event_of(data: msg.Data, part: memoryview) -> Event:
    try:
        return unpack_event(data.kind, bytes(part))
    except CodecError as error:
        # The reason is counted, so it must not be the sender's to choose.
        raise CodecError("a record of no known form") from error

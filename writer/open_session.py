"""The session that ingest serves: what was asked for and received, and what the recorder is told.

No sockets here: messages come in, messages to send go out.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator

from transport import messages as msg
from transport.errors import CodecError, OnbeatError
from transport.fetcher import Fetcher
from transport.lent_pictures import LentPictures
from writer.handshake import Session
from writer.intake import Intake
from writer.journal_thread import say
from writer.refusals import Refusals
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
        self.session = session
        self.peer: bytes | None = None
        self.connection: int | None = None
        self.last_word_s = time.monotonic()
        self._refusals, self._lent = refusals, lent
        self._fetcher: Fetcher | None = None
        self._probed_bytes = 0
        self._told: set[int] = set()
        self._intake = Intake(session, wake, tell_committer, log)

    @property
    def durable_seq(self) -> int:
        return self._intake.durable_seq

    @property
    def empty(self) -> bool:
        """Whether no episode has begun yet."""
        return self._intake.empty

    @property
    def epoch(self) -> int:
        """Of the present connection; -1 before the first."""
        return -1 if self._fetcher is None else self._fetcher.epoch

    @property
    def finished(self) -> bool:
        """Whether the log is over and everything in it has become part of the dataset."""
        folder = self.session.folder
        if not self._intake.over or folder.ready():
            return False
        return self.session.spec.upload is None or self._upload(-1).settled

    def meet(self, peer: bytes, connection: int | None, epoch: int) -> msg.Welcome:
        """The recorder is at `peer` from now on; what it is told."""
        received_seq, waiting_bytes = self._intake.durable_seq, 0
        if self._fetcher is not None:
            received_seq, waiting_bytes = self._fetcher.received_seq, self._fetcher.waiting_bytes
        self._fetcher = Fetcher(
            epoch, received_seq, self.session.schema, WINDOW_BYTES, waiting_bytes=waiting_bytes, lent=self._lent
        )
        self.peer, self.connection = peer, connection
        self.last_word_s = time.monotonic()
        self._probed_bytes = 0
        self._told.clear()
        return msg.Welcome(epoch, self._intake.durable_seq, str(self.session.root))

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
            if self._fetcher.gap(message):
                self._intake.lose(f"records {message.first_seq} to {message.last_seq}: {message.reason}")
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
        return self._fetcher.fetch(self._intake.durable_seq, unwritten_bytes=self._intake.unwritten_bytes)

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
        for episode_id, why in self._intake.left.items():
            if episode_id not in self._told:
                self._told.add(episode_id)
                yield msg.Episode(self._fetcher.epoch, episode_id, "failed", -1, 0, 0, why)
        if self.session.spec.upload is not None:
            yield self._upload(self._fetcher.epoch)
        lacks = self._intake.lacks
        if lacks:
            warning = f"{lacks}; {warning}" if warning else lacks
        yield msg.Status(
            self._fetcher.epoch,
            self._fetcher.received_seq,
            self._intake.durable_seq,
            len(self.session.folder.ready()),
            0 if self._intake.disk_refused else shutil.disk_usage(self.session.root.parent).free,
            finished,
            warning,
        )

    def _upload(self, epoch: int) -> msg.Upload:
        note = read_note(self.session.root) if self._intake.ended else None
        if note is None or note.session_id != self.session.session_id:
            return msg.Upload(epoch, msg.UploadState.WAITING, self.session.remark)
        return msg.Upload(epoch, note.state, note.detail or note.repo_id)

    def look_after(self) -> None:
        """Note what encoders are done with, and what was refused.

        Raises:
            OnbeatError: nobody writes the journal any more.
        """
        if not self._intake.alive():
            raise OnbeatError("the journal's thread ended; the session is taken up again")
        if self._fetcher is None:
            return
        for nbytes in self._intake.consumed():
            self._fetcher.consumed(nbytes)
        for reason in [reason for reason in self._fetcher.refused if reason not in _ORDINARY]:
            self._refusals.message(reason, self._fetcher.refused.pop(reason))

    def close(self) -> None:
        """Sync what there is and let go; the next one goes on from there."""
        self._intake.close()

    def _data(self, fetcher: Fetcher, data: msg.Data, parts: list[memoryview]) -> None:
        if fetcher.waiting_bytes >= WINDOW_BYTES or self._intake.unwritten_bytes >= 2 * WINDOW_BYTES:
            # The recorder stops by itself before; whoever does not must not fill the memory.
            fetcher.refused["not asked for"] += 1
            return
        record = fetcher.accept(data, parts)
        if record is not None:
            self._intake.take(data, record)

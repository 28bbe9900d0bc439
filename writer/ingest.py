"""The ingest process: fetches the log, encodes the pictures, journals everything.

It keeps nothing that is not on disk or still in the publisher's ring: killed at any moment, the next one reads the
journals, says how far they reach, and fetches on from there. It imports neither torch nor lerobot, so that it is back
within a second.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import time
from pathlib import Path
from typing import Any

import zmq

from transport import messages as msg
from transport.errors import CodecError, OnbeatError, UsageError
from transport.fetcher import Fetcher
from transport.link import Link, child_link
from transport.records import EpisodeBegan, EpisodeEnded, RecordKind, SessionEnded, Verdict, unpack_event
from transport.sockets import writer_socket
from writer import handshake
from writer.handshake import Session
from writer.journal_format import JournalHeader
from writer.journal_thread import JournalThread
from writer.recording import Recording
from writer.resume import standing

_BEAT_S = 0.25
_FETCH_INTERVAL_S = 0.01
_WINDOW_BYTES = 96 << 20
# A recorder whose supervisor is gone and that says nothing for so long will not come back.
_ORPHAN_SILENCE_S = 15.0


class Ingest:
    """Serves one session at a time; see the module's text."""

    def __init__(self, config: dict[str, Any], link: Link, ready_fd: int, done_fd: int) -> None:
        self._link = link
        self._ready_fd, self._done_fd = ready_fd, done_fd
        self._base = None if config["base"] is None else Path(config["base"])
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._consumed: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._context = zmq.Context()
        self._socket = _bind(self._context, config["address"])
        self._poller = zmq.Poller()
        for item in (self._socket, self._wake_fd, done_fd, link.fileno()):
            self._poller.register(item, zmq.POLLIN)
        self._session: Session | None = None
        self._peer: bytes | None = None
        self._fetcher: Fetcher | None = None
        self._recording: Recording | None = None
        self._journal: JournalThread
        self._orphan = False
        self._ended = False
        self._told: set[int] = set()
        self._last_fetch: msg.Fetch | None = None
        self._next_beat_s = self._next_fetch_s = 0.0
        self._last_word_s = time.monotonic()
        link.send({"listening": self._socket.getsockopt_string(zmq.LAST_ENDPOINT)})
        if config["session"] is not None:
            root, session_id = handshake.parse_agreed(config["session"])
            session = handshake.again(root, session_id)
            if session is not None:
                self._open(session)

    def run(self) -> None:
        """Serve until the parent says to stop."""
        while True:
            ready = dict(self._poller.poll(50))
            for fd in (self._wake_fd, self._done_fd):
                if fd in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(fd)
            if self._link.fileno() in ready:
                received = self._link.receive()
                if received is None or "stop" in received[0]:
                    break
                self._orphan = self._orphan or "orphan" in received[0]
            self._receive()
            self._note_consumed()
            if self._session is not None:
                self._look_after_session()
        self._shut_down()

    # -- the socket ----------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        # A bounded batch, so that beats and FETCHes are never starved by a full queue.
        for _ in range(64):
            try:
                identity, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                if not frames:
                    raise CodecError("a message without a header")
                message = msg.unpack(frames[0].buffer)
                self._handle(identity.bytes, message, [frame.buffer for frame in frames[1:]])
            except CodecError as error:
                self._link.offer({"log": f"ignored a message: {error}"})

    def _handle(self, peer: bytes, message: msg.Message, parts: list[memoryview]) -> None:
        if isinstance(message, msg.Hello):
            self._hello(peer, message)
            return
        if peer != self._peer or self._fetcher is None:
            raise CodecError(f"{type(message).__name__} from somebody who is not being recorded")
        self._last_word_s = time.monotonic()
        if isinstance(message, msg.Data):
            if self._fetcher.accept(message, parts):
                self._record(message, parts)
        elif isinstance(message, msg.Head):
            self._fetcher.head(message)
        elif isinstance(message, msg.Gap):
            if self._fetcher.gap(message) and self._recording is not None:
                self._recording.lose(f"records {message.first_seq} to {message.last_seq}: {message.reason}")
        elif isinstance(message, msg.Bye):
            if message.epoch == self._fetcher.epoch and self._finished():
                self._close_session()
        else:
            raise CodecError(f"{type(message).__name__} is the writer's to say")

    def _say(self, peer: bytes, message: msg.Message) -> None:
        # A peer that is gone, or whose queue is full, will say HELLO again.
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            self._socket.send_multipart([peer, msg.pack(message)], zmq.NOBLOCK)

    def _hello(self, peer: bytes, hello: msg.Hello) -> None:
        try:
            if self._session is None:
                session = handshake.consider(hello, self._base)
                self._ask_parent(session)
                session.folder.create(session.agreed())
                self._link.send({"created": True})
                self._open(session)
            assert self._session is not None
            if hello.session_id != self._session.session_id:
                raise OnbeatError(f"this writer is recording for {self._session.owner}; wait, or start another writer")
        except OnbeatError as error:
            self._say(peer, msg.Refused(hello.epoch, str(error)))
            return
        except OSError as error:
            self._say(peer, msg.Refused(hello.epoch, f"the dataset's folder cannot be written: {error}"))
            return
        self._peer = peer
        self._last_word_s = time.monotonic()
        received_seq, waiting_bytes = self._journal.durable_seq, 0
        if self._fetcher is not None:
            received_seq, waiting_bytes = self._fetcher.received_seq, self._fetcher.waiting_bytes
        self._fetcher = Fetcher(
            hello.epoch, received_seq, self._session.schema, _WINDOW_BYTES, waiting_bytes=waiting_bytes
        )
        self._last_fetch = None
        self._told.clear()
        self._say(peer, msg.Welcome(hello.epoch, self._journal.durable_seq, str(self._session.root)))

    def _ask_parent(self, session: Session) -> None:
        self._link.send({"open": {"root": str(session.root), "session_id": session.session_id, "owner": session.owner}})
        answer = self._link.receive(timeout_s=10)
        if answer is None or "refused" in answer[0]:
            raise OnbeatError("the writer is stopping" if answer is None else answer[0]["refused"])

    # -- the session ---------------------------------------------------------------------------------------------

    def _open(self, session: Session) -> None:
        """Take a session up where its journals end."""
        state = standing(session.folder)
        self._session = session
        self._ended = state.session_ended
        self._journal = JournalThread(session.folder, state.durable_seq, self._wake, self._tell_committer)
        self._journal.start()
        self._recording = None
        if state.open is not None:
            self._recording = self._new_recording(state.open.episode_id, state.open.frames)
            header = self._header(
                state.open.episode_id, state.open.task, state.open.next_segment, state.open.frames, None
            )
            self._journal.begin(None, header, self._cameras(), state.durable_seq)
        self._tell_committer()

    def _record(self, data: msg.Data, parts: list[memoryview]) -> None:
        seq = data.seq
        nbytes = sum(part.nbytes for part in parts)
        if data.kind == RecordKind.FRAME:
            if self._recording is None or self._recording.episode_id != data.episode_id:
                # Its beginning fell into a gap, which has been said already.
                self._journal.passed(seq)
                self._consumed.put(nbytes)
                return
            self._recording.frame(seq, data.frame_index, bytes(parts[0]), parts[1:])
            self._consumed.put(parts[0].nbytes)
            return
        self._consumed.put(nbytes)
        event = unpack_event(data.kind, bytes(parts[0]))
        if isinstance(event, EpisodeBegan):
            self._recording = self._new_recording(event.episode_id, 0)
            self._journal.begin(seq, self._header(event.episode_id, event.task, 0, 0, seq), self._cameras(), seq - 1)
        elif isinstance(event, SessionEnded):
            self._journal.session_ended(seq)
            self._ended = True
        elif self._recording is None or self._recording.episode_id != event.episode_id:
            self._journal.passed(seq)
        elif isinstance(event, EpisodeEnded):
            self._recording.end(seq, event)
        elif isinstance(event, Verdict):
            self._journal.verdict(seq, event)
            self._recording = None

    def _new_recording(self, episode_id: int, frames: int) -> Recording:
        assert self._session is not None
        session = self._session
        return Recording(
            episode_id,
            session.schema,
            session.spec.fps,
            session.codec,
            self._journal,
            self._on_consumed,
            frames=frames,
        )

    def _header(
        self, episode_id: int, task: str, segment: int, first_frame_index: int, began_seq: int | None
    ) -> JournalHeader:
        assert self._session is not None
        session = self._session
        return JournalHeader(
            session_id=session.session_id,
            episode_id=episode_id,
            task=task,
            segment=segment,
            first_frame_index=first_frame_index,
            schema=session.schema.to_wire(),
            spec=session.spec.to_wire(),
            codec_options=session.codec.options,
            began_seq=began_seq,
        )

    def _cameras(self) -> list[str]:
        assert self._session is not None
        return [stream.key for stream in self._session.schema.pictures]

    def _look_after_session(self) -> None:
        if self._journal.error is not None:
            raise self._journal.error
        now_s = time.monotonic()
        if self._fetcher is not None and self._peer is not None and now_s >= self._next_fetch_s:
            fetch = self._fetcher.fetch(self._journal.durable_seq)
            if fetch != self._last_fetch:
                self._next_fetch_s = now_s + _FETCH_INTERVAL_S
                self._last_fetch = fetch
                self._say(self._peer, fetch)
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + _BEAT_S
            self._last_fetch = None  # said again with every beat, in case it was lost
            self._tell_episodes()
            self._beat()
        if self._orphan and now_s - self._last_word_s > _ORPHAN_SILENCE_S:
            self._close_session()

    def _beat(self) -> None:
        assert self._session is not None
        if self._peer is None or self._fetcher is None:
            return
        warning = ""
        if self._recording is not None and self._recording.lacking:
            warning = f"episode {self._recording.episode_id} lacks {self._recording.lacking}"
        status = msg.Status(
            self._fetcher.epoch,
            self._fetcher.received_seq,
            self._journal.durable_seq,
            len(self._session.folder.ready()),
            shutil.disk_usage(self._session.root.parent).free,
            self._finished(),
            warning,
        )
        self._say(self._peer, status)

    def _finished(self) -> bool:
        assert self._session is not None
        return self._ended and self._session.folder.progress()["session_ended"] and not self._session.folder.ready()

    def _tell_episodes(self) -> None:
        """Send the final states of episodes that the peer has not heard of in this connection."""
        assert self._session is not None
        if self._peer is None or self._fetcher is None:
            return
        for episode_id, final in self._session.folder.done(known=self._told).items():
            self._told.add(episode_id)
            values = (final["state"], final["index"], final["frames"], final["missing"], final["detail"])
            self._say(self._peer, msg.Episode(self._fetcher.epoch, episode_id, *values))

    def _close_session(self) -> None:
        """The session is over, or will never go on; what is left of it on disk is the committer's to clean."""
        if self._recording is not None:
            self._recording.abandon()
        self._journal.stop(timeout_s=10)
        self._session = self._peer = self._fetcher = self._recording = None
        self._link.send({"closed": True})

    def _shut_down(self) -> None:
        if self._session is not None:
            if self._recording is not None:
                self._recording.abandon()
            self._journal.stop(timeout_s=10)
        self._socket.close(linger=0)
        self._context.term()

    # -- other threads -------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        _ring_bell(self._wake_fd)

    def _tell_committer(self) -> None:
        _ring_bell(self._ready_fd)

    def _on_consumed(self, nbytes: int) -> None:
        self._consumed.put(nbytes)
        self._wake()

    def _note_consumed(self) -> None:
        while True:
            try:
                nbytes = self._consumed.get_nowait()
            except queue.Empty:
                return
            if self._fetcher is not None:
                self._fetcher.consumed(nbytes)


def _bind(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    socket = writer_socket(context)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise UsageError(f"cannot listen at {address} ({error.strerror}); choose another --bind") from error
    return socket


def _ring_bell(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.eventfd_write(fd, 1)


def main() -> None:
    """Entry of the process; its link's first message has `address`, `base`, `session` and two eventfds."""
    link, config, (ready_fd, done_fd) = child_link()
    try:
        Ingest(config, link, ready_fd, done_fd).run()
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()

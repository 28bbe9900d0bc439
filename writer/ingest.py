"""The ingest process: fetches the log, encodes the pictures, journals everything.

It keeps nothing that is not on disk or still in the publisher's ring: killed at any moment, the next one reads the
journals, says how far they reach, and fetches on from there. It imports neither torch nor lerobot, so that it is back
within a second. Whatever arrives on its socket is counted, answered or recorded; nothing of it ends the process.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import zmq

from transport import keys, sockets
from transport import messages as msg
from transport.errors import CodecError, OnbeatError, UsageError
from transport.link import Link, child_link
from writer import handshake, limits
from writer.admission import Admission, Answer, Candidate
from writer.doorkeeper import Doorkeeper
from writer.handshake import Session
from writer.open_session import OpenSession
from writer.priority import give_up_realtime
from writer.refusals import Refusals

_BEAT_S = 0.25
_FETCH_INTERVAL_S = 0.01
_MESSAGES_A_TURN = 64
# Who it is from, header, row, pictures.
_MAX_PARTS = 3 + handshake.MAX_CAMERAS
# A recorder whose supervisor is gone and that says nothing for so long will not come back.
_ORPHAN_SILENCE_S = 15.0
# Somebody else may have the writer when its recorder has been silent for so long; less if nothing was recorded yet.
_VACANT_S = 30.0
_EMPTY_VACANT_S = 2.0
# Ended by its own memory limit, as the parent is told.
EXIT_MEMORY = 4


class Ingest:
    """Serves one session at a time; see the module's text."""

    def __init__(self, config: dict[str, Any], link: Link, ready_fd: int, done_fd: int) -> None:
        self._link = link
        self._ready_fd, self._done_fd = ready_fd, done_fd
        self._base = None if config["base"] is None else Path(config["base"])
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._refusals = Refusals()
        self._admission = Admission(self._base, self._wake)
        self._admitted: Answer | None = None
        self._open: OpenSession | None = None
        self._orphan = False
        self._last_fetch: msg.Fetch | None = None
        self._next_beat_s = self._next_fetch_s = 0.0
        limits.share_memory()
        self._memory = limits.MemoryWatch(
            config["memory_bytes"] or limits.default_memory_bytes(), self._relieve, self._give_up
        )
        self._context = zmq.Context()
        self._bind(config["address"], None if config["keys"] is None else Path(config["keys"]))
        self._poller = zmq.Poller()
        for item in (self._socket, self._wake_fd, done_fd, link.fileno()):
            self._poller.register(item, zmq.POLLIN)
        link.send({"listening": self._socket.getsockopt_string(zmq.LAST_ENDPOINT)})
        if config["session"] is not None:
            self._take_up(*handshake.parse_agreed(config["session"]))

    def run(self) -> None:
        """Serve until the parent says to stop."""
        while True:
            ready = dict(self._poller.poll(50))
            for fd in (self._wake_fd, self._done_fd):
                if fd in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(fd)
            if self._link.fileno() in ready and not self._heed_parent():
                break
            if not self._doorkeeper.is_alive():
                raise OnbeatError("nobody watches the connections any more; ingest starts again")
            self._receive()
            answer = self._admission.answer()
            if answer is not None:
                self._on_answer(answer)
            if self._open is not None:
                self._look_after_session(self._open)
            self._say_refusals()
        if self._open is not None:
            self._open.close()
        self._doorkeeper.stop()
        self._socket.close(linger=0)
        self._context.destroy(linger=0)

    # -- the socket ----------------------------------------------------------------------------------------------

    def _bind(self, address: str, key_folder: Path | None) -> None:
        pair = None if key_folder is None else keys.load_writer(key_folder)
        self._with_keys = pair is not None
        self._socket = sockets.writer_socket(self._context, pair)
        self._doorkeeper = Doorkeeper(
            self._context,
            self._socket,
            self._refusals,
            limits.strangers_allowed(limits.raise_file_limit()),
            None if key_folder is None else lambda: keys.load_allowed(key_folder),
            self._memory.check,
        )
        self._doorkeeper.start()
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._doorkeeper.stop()
            raise UsageError(f"cannot listen at {address} ({error.strerror}); choose another --bind") from error

    def _receive(self) -> None:
        # A bounded batch, so that beats and FETCHes are never starved by a full queue.
        for _ in range(_MESSAGES_A_TURN):
            frames = self._next_message()
            if frames is None:
                return
            identity, header = frames[0].bytes, frames[1]
            try:
                try:
                    if len(frames) > _MAX_PARTS:
                        raise CodecError("more parts than any record has")
                    message = msg.unpack(header.buffer)
                except CodecError:
                    self._refusals.message("not a message")
                    raise
                self._handle(identity, header, message, [frame.buffer for frame in frames[2:]])
            except CodecError:
                if self._open is None or identity != self._open.peer:
                    self._doorkeeper.throw_out(_fd(header), "said what no recorder says")

    def _next_message(self) -> list[zmq.Frame] | None:
        """The next message; of one with more parts than any record has, the first ones and one too many."""
        try:
            frames = [self._socket.recv(zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return None
        # The parts of a message arrive together, or not at all.
        while self._socket.getsockopt(zmq.RCVMORE):
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            if len(frames) <= _MAX_PARTS:
                frames.append(frame)
        return frames

    def _handle(self, peer: bytes, header: zmq.Frame, message: msg.Message, parts: list[memoryview]) -> None:
        if isinstance(message, msg.Hello):
            self._hello(peer, header, message)
        elif self._open is None or peer != self._open.peer:
            self._refusals.message("from nobody's recorder")
            raise CodecError("from somebody who is not being recorded")
        elif isinstance(message, msg.Probe):
            self._say(peer, self._open.probed(message, parts))
        else:
            try:
                over = self._open.handle(message, parts)
            except CodecError as error:
                self._refusals.message(str(error))
                raise
            if over:
                self._close_session()

    def _say(self, peer: bytes, message: msg.Message) -> None:
        # A peer that is gone, or whose queue is full, will say HELLO again.
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            self._socket.send_multipart([peer, msg.pack(message)], zmq.NOBLOCK)

    # -- who is recorded -----------------------------------------------------------------------------------------

    def _hello(self, peer: bytes, header: zmq.Frame, hello: msg.Hello) -> None:
        if _fd(header) < 0:
            self._refusals.message("from ZeroMQ of another time")
            raise CodecError("a HELLO without a connection")
        key = str(header.get("User-Id")) if self._with_keys else ""
        connection = self._doorkeeper.let_in(_fd(header))
        try:
            if self._open is not None and self._open.session.session_id != hello.session_id:
                self._make_room(self._open)
            if self._open is not None:
                self._open.session.check_same(hello, key)
                self._welcome(self._open, peer, connection, hello)
            else:
                self._admission.ask(Candidate(peer, connection, hello, key))
        except OnbeatError as error:
            self._refuse(peer, connection, hello.epoch, str(error))

    def _make_room(self, session: OpenSession) -> None:
        """Close a session whose recorder is gone, for somebody who is here.

        Raises:
            UsageError: it is not gone.
        """
        silent_s = time.monotonic() - session.last_word_s
        wait_s = (_EMPTY_VACANT_S if session.empty else _VACANT_S) - silent_s
        if wait_s > 0:
            heard = f", not heard of for {silent_s:.0f} s" if silent_s > 1 else ""
            raise UsageError(
                f"this writer is recording for {session.session.owner}{heard}; wait, or start another writer"
            )
        self._log(f"{session.session.owner} has not been heard of for {silent_s:.0f} s; its session was closed")
        self._close_session()

    def _welcome(self, session: OpenSession, peer: bytes, connection: int | None, hello: msg.Hello) -> None:
        if hello.epoch <= session.epoch:
            raise CodecError("a HELLO of an older connection")
        if session.connection != connection:
            self._doorkeeper.see_off(session.connection)
        self._doorkeeper.trust(connection)
        self._last_fetch = None
        self._say(peer, session.meet(peer, connection, hello.epoch))

    def _refuse(self, peer: bytes, connection: int | None, epoch: int, reason: str) -> None:
        self._doorkeeper.see_off(connection)
        self._refusals.message("request refused")
        self._say(peer, msg.Refused(epoch, reason))

    def _on_answer(self, answer: Answer) -> None:
        """A request has been checked; next, the parent locks the dataset."""
        if answer.session is None:
            self._turn_down(answer, answer.reason)
            return
        session = answer.session
        self._admitted = answer
        self._link.send({"open": {"root": str(session.root), "session_id": session.session_id, "owner": session.owner}})

    def _turn_down(self, answer: Answer, reason: str) -> None:
        candidate = answer.candidate
        self._admission.done()
        self._refuse(candidate.peer, candidate.connection, candidate.hello.epoch, reason)

    def _heed_parent(self) -> bool:
        """Take what the parent says; False if that is to stop."""
        received = self._link.receive()
        if received is None or "stop" in received[0]:
            return False
        message = received[0]
        if "orphan" in message:
            self._orphan = True
        elif self._admitted is not None:
            answer, self._admitted = self._admitted, None
            if "refused" in message:
                self._turn_down(answer, message["refused"])
            else:
                self._begin(answer)
        return True

    def _begin(self, answer: Answer) -> None:
        """The dataset is ours: open the session and tell its recorder."""
        session, candidate = answer.session, answer.candidate
        assert session is not None
        try:
            session.folder.create(session.agreed())
            self._link.send({"created": True})
            self._open = self._opened(session)
        except (OnbeatError, OSError) as error:
            self._link.send({"closed": True})
            self._turn_down(answer, f"the session cannot be recorded: {error}")
            return
        self._admission.done()
        self._welcome(self._open, candidate.peer, candidate.connection, candidate.hello)

    def _take_up(self, root: Path, session_id: str) -> None:
        """Go on with the session of an ingest that ended."""
        try:
            session = handshake.again(root, session_id)
            if session is not None:
                self._open = self._opened(session)
                return
            reason = "it has no folder any more"
        except OnbeatError as error:
            reason = str(error)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"its folder is damaged: {type(error).__name__}"
        self._log(f"the session beside {root} cannot be continued ({reason}); `onbeat recover {root}` has more")
        self._link.send({"closed": True})

    def _opened(self, session: Session) -> OpenSession:
        opened = OpenSession(session, self._refusals, self._wake, self._tell_committer)
        self._tell_committer()
        return opened

    # -- the session ---------------------------------------------------------------------------------------------

    def _look_after_session(self, session: OpenSession) -> None:
        session.look_after()
        now_s = time.monotonic()
        if session.peer is not None and now_s >= self._next_fetch_s:
            fetch = session.fetch()
            if fetch is not None and fetch != self._last_fetch:
                self._next_fetch_s = now_s + _FETCH_INTERVAL_S
                self._last_fetch = fetch
                self._say(session.peer, fetch)
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + _BEAT_S
            self._last_fetch = None  # said again with every beat, in case it was lost
            if session.peer is not None:
                for message in session.beat(self._refusals.text):
                    self._say(session.peer, message)
        if self._orphan and now_s - session.last_word_s > _ORPHAN_SILENCE_S:
            self._close_session()

    def _close_session(self) -> None:
        """The session is over, or will never go on; what is left of it on disk is the committer's to clean."""
        assert self._open is not None
        self._doorkeeper.see_off(self._open.connection)
        self._open.close()
        self._open = None
        self._link.send({"closed": True})

    # -- what people hear, and other threads -----------------------------------------------------------------------

    def _say_refusals(self) -> None:
        news = self._refusals.news(time.monotonic())
        if news is not None:
            self._log(news)

    def _log(self, text: str) -> None:
        self._link.offer({"log": text})

    def _relieve(self) -> None:
        self._doorkeeper.clear("the memory limit was reached")
        limits.give_memory_back()

    def _give_up(self, used_bytes: int) -> None:
        self._link.send({"log": f"ingest used {used_bytes / 1e9:.1f} GB, above its limit; it starts again"})
        os._exit(EXIT_MEMORY)

    def _wake(self) -> None:
        _ring_bell(self._wake_fd)

    def _tell_committer(self) -> None:
        _ring_bell(self._ready_fd)


def _fd(frame: zmq.Frame) -> int:
    """libzmq's file descriptor of the connection that a message came over, which may be closed by now; -1 if unknown.

    Unknown it is for those who greet as ZeroMQ did before version 3 of its protocol.
    """
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def _ring_bell(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.eventfd_write(fd, 1)


def main() -> None:
    """Entry of the process; its link's first message has `address`, `base`, `session`, `keys` and two eventfds."""
    link, config, (ready_fd, done_fd) = child_link()
    give_up_realtime()
    try:
        Ingest(config, link, ready_fd, done_fd).run()
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()

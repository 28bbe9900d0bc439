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

from transport import messages as msg
from transport.errors import CodecError, OnbeatError, UsageError
from transport.lent_pictures import lent_pictures
from transport.link import Link, child_link
from writer import handshake, limits
from writer.admission import Admission, Answer, Candidate
from writer.front import Front, Received
from writer.handshake import Session
from writer.open_session import OpenSession
from writer.priority import give_up_realtime
from writer.refusals import Refusals

_BEAT_S = 0.25
_FETCH_INTERVAL_S = 0.01
# A recorder whose supervisor is gone and that says nothing for so long will not come back.
_ORPHAN_SILENCE_S = 15.0
# Somebody else may have the writer when its recorder has been silent for so long; less if nothing was recorded yet.
_VACANT_S = 30.0
_EMPTY_VACANT_S = 2.0
# A recorder that has seen all finished says BYE, which can be lost; longer than it waits for a writer (give_up_s).
_FAREWELL_S = 150.0


class Ingest:
    """Serves one session at a time; see the module's text.

    Args:
        ready_fd, done_fd: the two bells, which the committer shares.
        ring_fd: the log ring of a recorder on this machine, to read; None for a writer of its own.
    """

    def __init__(
        self, config: dict[str, Any], link: Link, ready_fd: int, done_fd: int, ring_fd: int | None = None
    ) -> None:
        self._link = link
        self._ready_fd, self._done_fd, self._ring_fd = ready_fd, done_fd, ring_fd
        self._base = None if config["base"] is None else Path(config["base"])
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._refusals = Refusals()
        self._admission = Admission(self._base, self._wake, may_upload=config["may_upload"])
        self._admitted: Answer | None = None
        self._open: OpenSession | None = None
        self._orphan = False
        self._last_fetch: msg.Fetch | None = None
        self._next_beat_s = self._next_fetch_s = 0.0
        self._front = Front(
            config["address"],
            None if config["keys"] is None else Path(config["keys"]),
            config["memory_bytes"] or limits.default_memory_bytes(),
            self._refusals,
            self._log,
        )
        self._poller = zmq.Poller()
        for item in (self._front.socket, self._wake_fd, done_fd, link.fileno()):
            self._poller.register(item, zmq.POLLIN)
        link.send({"listening": self._front.address})
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
            self._receive()
            answer = self._admission.answer()
            if answer is not None:
                self._on_answer(answer)
            if self._open is not None:
                self._look_after_session(self._open)
            self._say_refusals()
        if self._open is not None:
            self._open.close()
        self._front.close()

    # -- messages ------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        for received in self._front.receive():
            try:
                self._handle(received)
            except CodecError as error:
                self._refusals.message(str(error))
                if self._open is None or received.peer != self._open.peer:
                    self._front.throw_out(received.fd)

    def _handle(self, received: Received) -> None:
        peer, message = received.peer, received.message
        if isinstance(message, msg.Hello):
            self._hello(received, message)
        elif self._open is None or peer != self._open.peer:
            raise CodecError("from nobody's recorder")
        elif isinstance(message, msg.Probe):
            self._front.say(peer, self._open.probed(message, received.parts))
        elif self._open.handle(message, received.parts):
            self._close_session()

    # -- who is recorded -----------------------------------------------------------------------------------------

    def _hello(self, received: Received, hello: msg.Hello) -> None:
        opened = self._open
        if opened is not None and opened.session.session_id == hello.session_id and hello.epoch <= opened.epoch:
            raise CodecError("a HELLO of an older connection")
        connection = self._front.let_in(received.fd)
        try:
            handshake.check_form(hello)
            if opened is not None and opened.session.session_id != hello.session_id:
                self._make_room(opened)
            if self._open is not None:
                self._open.session.check_same(hello, received.key)
                self._welcome(self._open, received.peer, connection, hello)
            else:
                self._admission.ask(Candidate(received.peer, connection, hello, received.key))
        except OnbeatError as error:
            self._refuse(received.peer, connection, hello.epoch, str(error))

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
        if session.connection != connection:
            self._front.see_off(session.connection)
        self._front.trust(connection)
        self._last_fetch = None
        self._front.say(peer, session.meet(peer, connection, hello.epoch))

    def _refuse(self, peer: bytes, connection: int | None, epoch: int, reason: str) -> None:
        self._front.see_off(connection)
        self._refusals.message("request refused")
        self._front.say(peer, msg.Refused(epoch, reason))

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
        except (OnbeatError, OSError) as error:
            reason = str(error)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"its folder is damaged: {type(error).__name__}"
        self._log(f"the session beside {root} cannot be continued ({reason}); `onbeat recover {root}` has more")
        self._link.send({"closed": True})

    def _opened(self, session: Session) -> OpenSession:
        lent = None
        if self._ring_fd is not None:
            lent = lent_pictures(self._ring_fd, session.schema, session.session_id)
        opened = OpenSession(session, self._refusals, self._wake, self._tell_committer, self._log, lent=lent)
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
                self._front.say(session.peer, fetch)
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + _BEAT_S
            self._last_fetch = None  # said again with every beat, in case it was lost
            if session.peer is not None:
                for message in session.beat(self._refusals.recent(now_s)):
                    self._front.say(session.peer, message)
        silent_s = now_s - session.last_word_s
        if (self._orphan and silent_s > _ORPHAN_SILENCE_S) or (silent_s > _FAREWELL_S and session.finished):
            self._close_session()

    def _close_session(self) -> None:
        """The session is over, or will never go on; what is left of it on disk is the committer's to clean."""
        assert self._open is not None
        self._front.see_off(self._open.connection)
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

    def _wake(self) -> None:
        _ring_bell(self._wake_fd)

    def _tell_committer(self) -> None:
        _ring_bell(self._ready_fd)


def _ring_bell(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.eventfd_write(fd, 1)


def main() -> None:
    """Entry of the process; its link's first message has `address`, `base`, `session`, limits, and `Ingest`'s fds."""
    link, config, fds = child_link()
    give_up_realtime()
    try:
        Ingest(config, link, *fds).run()
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()

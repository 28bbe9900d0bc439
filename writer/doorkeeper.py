"""Who may be connected to ingest, and how much somebody may say before the session is his.

libzmq accepts whoever comes and keeps what he sends, also messages that never end, where no option bounds it. So this
thread watches every connection from outside: it answers for keys (ZAP, RFC 27), counts who was turned away and why,
and asks the kernel how much a stranger has sent (TCP_INFO). A stranger is a connection that carries no session; too
many of them, too much from one, or one that never comes to the point is shut down, the oldest first. The session's own
connection is never touched.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from transport.errors import UsageError
from transport.sockets import HANDSHAKE_FAILED, why_turned_away
from writer.refusals import Refusals

_EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED | zmq.EVENT_MONITOR_STOPPED
_ZAP_ADDRESS = "inproc://zeromq.zap.01"
_LOOK_MS = 25
_IDLE_LOOK_MS = 1000
_EVENTS_A_TURN = 512
# The largest HELLO (transport/schema.py) has 200 kB. Parts of two bytes cost 32 times their size in libzmq.
STRANGER_BYTES = 512 << 10
ALL_STRANGERS_BYTES = 8 << 20
STRANGER_S = 60.0
_SO_COOKIE = 57
_BYTES_RECEIVED = struct.Struct("Q")
# struct tcp_info (linux/tcp.h), tcpi_bytes_received
_BYTES_RECEIVED_OFFSET = 128


@dataclass(slots=True)
class _Connection:
    """`cookie` is the kernel's number of the socket: file descriptors are used again, cookies never.

    `has_asked`: for a session, and was refused, or the session is over.
    """

    cookie: int
    since_s: float
    has_asked: bool = False


class Doorkeeper(threading.Thread):
    """Started before the socket is bound; every public method may be called from any thread.

    Args:
        watched: the ROUTER.
        strangers: how many connections may be open that are nobody's session.
        allowed: gives the names of those who may come in, by public key; None where no keys are used.
        look: called about as often as the thread looks around, to watch over other things.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        watched: zmq.Socket[bytes],
        refusals: Refusals,
        strangers: int,
        allowed: Callable[[], Mapping[str, str]] | None,
        look: Callable[[float], None] = lambda now_s: None,
    ) -> None:
        super().__init__(name="doorkeeper", daemon=True)
        self._refusals, self._most, self._allowed, self._look = refusals, strangers, allowed, look
        self._lock = threading.Lock()
        self._strangers: dict[int, _Connection] = {}
        self._counted = False
        self._guests: dict[int, int] = {}
        self._trusted: int | None = None
        self._thrown_out: set[int] = set()
        address = f"inproc://doorkeeper-{id(self)}"
        self._watched = watched
        watched.monitor(address, _EVENTS)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.connect(address)
        self._zap = context.socket(zmq.REP)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(_ZAP_ADDRESS)

    # -- called by ingest ----------------------------------------------------------------------------------------

    def let_in(self, fd: int) -> int | None:
        """Whoever is behind `fd` has asked for a session: not one of many any more. Returns the connection's cookie."""
        with _borrowed(fd) as own:
            cookie = None if own is None else _cookie(own)
        if cookie is not None:
            with self._lock:
                self._guests.setdefault(cookie, fd)
                self._strangers.pop(fd, None)
        return cookie

    def trust(self, cookie: int | None) -> None:
        """The connection is the session's: from now on it may say as much as it likes."""
        with self._lock:
            self._trusted = cookie

    def see_off(self, cookie: int | None) -> None:
        """The connection is nobody's any more."""
        if cookie is None:
            return
        with self._lock:
            if self._trusted == cookie:
                self._trusted = None
            fd = self._guests.pop(cookie, None)
            if fd is not None:
                self._strangers.setdefault(fd, _Connection(cookie, time.monotonic(), has_asked=True))

    def throw_out(self, fd: int, reason: str) -> None:
        """Shut down the connection behind `fd`, unless it is the session's."""
        self._shut(fd, None, reason)

    def clear(self, reason: str) -> None:
        """Shut down all strangers."""
        with self._lock:
            strangers = dict(self._strangers)
        for fd, connection in strangers.items():
            self._shut(fd, connection.cookie, reason)

    def stop(self) -> None:
        """End the thread; call it before the watched socket is closed."""
        self._watched.monitor(None, 0)
        self.join()

    # -- the thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._zap, zmq.POLLIN)
        next_look_s = 0.0
        try:
            while True:
                poller.poll(_LOOK_MS if self._watched_closely() else _IDLE_LOOK_MS)
                if not self._note_events():
                    return
                self._answer_for_keys()
                now_s = time.monotonic()
                if now_s >= next_look_s:
                    next_look_s = now_s + _LOOK_MS / 1000
                    self._look_at_strangers(now_s)
                    self._look(now_s)
        finally:
            self._monitor.close(linger=0)
            self._zap.close(linger=0)

    def _watched_closely(self) -> dict[int, _Connection]:
        """By file descriptor, everybody but the session's recorder, the oldest first."""
        with self._lock:
            asking = {fd: _Connection(c, math.inf) for c, fd in self._guests.items() if c != self._trusted}
            return {**self._strangers, **asking}

    def _note_events(self) -> bool:
        """Take in what libzmq tells of its connections; False when there is no more to come."""
        for _ in range(_EVENTS_A_TURN):
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return True
            if event["event"] == zmq.EVENT_MONITOR_STOPPED:
                return False
            if event["endpoint"].startswith(b"ipc:"):
                continue  # only this user's own processes get so far (transport/sockets.py)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._accepted(event["value"])
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self._left(event["value"])
            elif (reason := why_turned_away(event)) is not None:
                # libzmq says next that this connection is gone; that is the same one.
                self._counted = True
                self._refusals.connection(reason)
        return True

    def _left(self, fd: int) -> None:
        with self._lock:
            stranger = self._strangers.pop(fd, None)
            known = fd in self._guests.values() or fd in self._thrown_out or (stranger and stranger.has_asked)
            self._thrown_out.discard(fd)
        if not known and not self._counted:
            self._refusals.connection("left without having said what it wants")
        self._counted = False

    def _accepted(self, fd: int) -> None:
        with _borrowed(fd) as own:
            cookie = None if own is None else _cookie(own)
        if cookie is None:  # gone already, or not TCP
            return
        self._gone(fd)
        with self._lock:
            self._thrown_out.discard(fd)
            if cookie in self._guests:
                return
            self._strangers[fd] = _Connection(cookie, time.monotonic())
            oldest = next(iter(self._strangers.items())) if len(self._strangers) > self._most else None
        if oldest is not None:
            self._shut(oldest[0], oldest[1].cookie, "too many connections")

    def _gone(self, fd: int) -> None:
        """Whatever was known of `fd` is over; its number may be in use again, which the cookie tells."""
        with _borrowed(fd) as own:
            present = None if own is None else _cookie(own)
        with self._lock:
            stranger = self._strangers.get(fd)
            if stranger is not None and stranger.cookie != present:
                del self._strangers[fd]
            for cookie in [c for c, guest_fd in self._guests.items() if guest_fd == fd and c != present]:
                del self._guests[cookie]

    def _answer_for_keys(self) -> None:
        while True:
            try:
                request = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            version, request_id, _domain, _address, _identity, mechanism, *credentials = request
            user = ""
            if self._allowed is None:
                user = "anybody"
            elif mechanism == b"CURVE":
                key = z85.encode(credentials[0]).decode()
                try:
                    user = key if key in self._allowed() else ""
                except UsageError:
                    self._refusals.connection("the list of recorders cannot be read")
            answer = (b"200", b"OK", user.encode()) if user else (b"400", b"not on the list", b"")
            self._zap.send_multipart([version, request_id, *answer, b""])

    def _look_at_strangers(self, now_s: float) -> None:
        strangers = self._watched_closely()
        said: list[tuple[int, int]] = []
        for fd, connection in strangers.items():
            nbytes = _bytes_received(fd)
            if nbytes is None:
                self._gone(fd)
            elif nbytes > STRANGER_BYTES:
                self._shut(fd, connection.cookie, "said too much before it was accepted")
            elif now_s - connection.since_s > STRANGER_S:
                self._shut(fd, connection.cookie, "never came to the point")
            else:
                said.append((nbytes, fd))
        total = sum(nbytes for nbytes, _ in said)
        for nbytes, fd in sorted(said, reverse=True):
            if total <= ALL_STRANGERS_BYTES:
                return
            total -= nbytes
            self._shut(fd, strangers[fd].cookie, "said too much before it was accepted")

    def _shut(self, fd: int, cookie: int | None, reason: str) -> None:
        with _borrowed(fd) as own:
            present = None if own is None else _cookie(own)
            with self._lock:
                mistaken = cookie is None and present in self._guests
                if own is None or mistaken or present == self._trusted or cookie not in (None, present):
                    return
                # From here on it counts as gone, although libzmq has yet to notice.
                self._strangers.pop(fd, None)
                self._guests.pop(present or 0, None)
                self._thrown_out.add(fd)
            with contextlib.suppress(OSError):  # the peer was faster
                own.shutdown(socket.SHUT_RDWR)
                self._refusals.connection(reason)


class _borrowed(contextlib.AbstractContextManager["socket.socket | None"]):
    """A second descriptor of the connection behind a number of libzmq's, which may close it at any moment.

    None if the number is no TCP connection by now.
    """

    def __init__(self, fd: int) -> None:
        self._socket: socket.socket | None = None
        own_fd = -1
        try:
            own_fd = os.dup(fd)
            self._socket = socket.socket(fileno=own_fd)
        except OSError:
            if own_fd >= 0:  # not a socket
                os.close(own_fd)
            return
        if self._socket.family not in (socket.AF_INET, socket.AF_INET6):
            self._socket.close()
            self._socket = None

    def __enter__(self) -> socket.socket | None:
        return self._socket

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()


def _cookie(own: socket.socket) -> int:
    return int.from_bytes(own.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def _bytes_received(fd: int) -> int | None:
    """What the peer behind `fd` has sent so far, in bytes; None if it is no TCP connection any more."""
    looking = None
    try:
        looking = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=fd)
        info = looking.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED_OFFSET + _BYTES_RECEIVED.size)
        return int(_BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_OFFSET)[0])
    except OSError:
        return None
    finally:
        if looking is not None:
            looking.detach()

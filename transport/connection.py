"""The publisher's connection to the writer: one socket after the other, each with a new epoch."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from transport import messages as msg
from transport.errors import CodecError
from transport.link_probe import MESSAGE_BYTES
from transport.outbox import Outbox
from transport.ring import LogRing
from transport.sockets import HANDSHAKE_FAILED, publisher_socket, why_refused
from transport.wire import Part

# A writer says something every quarter second; this long without a word means that the link is dead.
_SILENCE_S = 5.0
# The writer's answer to HELLO takes as long as it measures the codec and recovers a journal.
_WELCOME_S = 30.0
# Being turned away at the door is not over in a moment.
_TURNED_AWAY_S = 1.0
_BROKEN_OFF = 3


class Connection:
    """The present connection, with what is owed on it.

    Args:
        config: `address`, `dataset`, `owner`, and `keys` where the writer wants them.
        poller: gets whatever shows that there is something to do.
        say: for the supervisor; called with {"writer": "lost"} or "silent", with {"no_entry": why} where the writer
            does not let this recorder in, and with warnings.

    Attributes:
        outbox: what the writer asked for.
        welcome: whether the writer has accepted the session on this connection.
    """

    outbox: Outbox

    def __init__(
        self, ring: LogRing, config: Mapping[str, Any], poller: zmq.Poller, say: Callable[[dict[str, Any]], object]
    ) -> None:
        self._ring, self._config, self._poller, self._say = ring, config, poller, say
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes]
        self.welcome = False
        self._broken_off = 0
        self.reconnect()

    def reconnect(self) -> None:
        """A fresh socket with a new epoch: whatever is still under way on an old one can then be told apart."""
        if self._socket is not None:
            self._poller.unregister(self._monitor)
            self._poller.unregister(self._socket)
            self._socket.disable_monitor()
            self._socket.close(linger=0)
        self.outbox = Outbox(self._ring.next_epoch())
        self._socket = publisher_socket(self._context, self._config.get("keys"))
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | HANDSHAKE_FAILED
        )
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(self._socket, zmq.POLLIN)
        self._socket.connect(self._config["address"])
        self._said_hello = self.welcome = False
        self._again_at_s = float("inf")
        self._last_word_s = time.monotonic()

    def look_after(self, ready: Mapping[Any, int]) -> None:
        """Greet a writer that appeared; give up a connection that broke or went silent."""
        if self._monitor in ready:
            told = recv_monitor_message(self._monitor)
            event = told["event"]
            if event & HANDSHAKE_FAILED:
                self._turned_away(told)
            elif event == zmq.EVENT_DISCONNECTED and self._again_at_s == float("inf"):
                self._say({"writer": "lost"})
                self.reconnect()
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED and not self._said_hello:
                self._said_hello = True
                self._broken_off = 0
                self._last_word_s = time.monotonic()
                self.send(self._hello())
        if time.monotonic() >= self._again_at_s:
            self.reconnect()
        patience_s = _SILENCE_S if self.welcome else _WELCOME_S
        if self._said_hello and time.monotonic() - self._last_word_s > patience_s:
            self._say({"writer": "silent"})
            self.reconnect()

    def _turned_away(self, event: Mapping[str, Any]) -> None:
        with_keys = self._config.get("keys") is not None
        why = why_refused(event, with_keys=with_keys)
        self._again_at_s = time.monotonic() + _TURNED_AWAY_S
        self._broken_off += 1
        if why is None and self._broken_off == _BROKEN_OFF:
            # Whichever side notices first hangs up, and what the other would have seen is lost with the connection.
            why = "the writer hung up; the file of --writer.keys was made for another writer, or this one has no keys"
            if not with_keys:
                why = "whoever listens there hung up; a writer that wants a key needs --writer.keys"
        if why is not None:
            self._say({"no_entry": why})

    def send(self, message: msg.Message) -> bool:
        """Send unless the queue is full, which means that the link is stuck; silence will reconnect."""
        assert self._socket is not None
        with contextlib.suppress(zmq.Again):
            self._socket.send(msg.pack(message), zmq.NOBLOCK)
            return True
        return False

    def send_record(self, header: msg.Data, parts: Sequence[Part]) -> zmq.MessageTracker | None:
        """Send a record without copying its pictures; None: try later.

        Args:
            parts: the row or event, then pictures.

        Returns:
            what tells when libzmq has let go of all of them.
        """
        assert self._socket is not None
        # Of a multipart message pyzmq tracks the last part alone, and it copies small ones, which then count as sent.
        # A row is no view of the ring, and cheaper to copy.
        row, *pictures = parts
        frames = [zmq.Frame(row, track=True), *(zmq.Frame(p, track=True, copy_threshold=0) for p in pictures)]
        try:
            self._socket.send_multipart([msg.pack(header), *frames], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        return zmq.MessageTracker(*(event for frame in frames for event in frame.tracker.events))

    def send_filler(self, messages: int) -> None:
        """Send so many PROBEs; for 0, one that is empty."""
        assert self._socket is not None
        probe = msg.pack(msg.Probe(self.outbox.epoch))
        filler = os.urandom(MESSAGE_BYTES) if messages else b""
        # A full queue ends the burst, and the answers that do not come end the measurement.
        with contextlib.suppress(zmq.Again):
            for _ in range(max(messages, 1)):
                self._socket.send_multipart([probe, filler], zmq.NOBLOCK, copy=False)

    def received(self) -> Iterator[msg.Message]:
        """What the writer said on this connection since the last call."""
        while True:
            assert self._socket is not None
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = msg.unpack(parts[0])
            except CodecError as error:
                self._say({"warning": f"ignored a message of the writer: {error}"})
                continue
            if getattr(message, "epoch", None) == self.outbox.epoch:
                self._last_word_s = time.monotonic()
                yield message

    def close(self, *, linger_ms: int = 0) -> None:
        assert self._socket is not None
        self._socket.disable_monitor()
        self._socket.close(linger=linger_ms)
        self._context.destroy(linger=0)

    def _hello(self) -> msg.Hello:
        return msg.Hello(
            msg.PROTOCOL,
            self._ring.session_id,
            self.outbox.epoch,
            self._ring.schema.to_wire(),
            self._config["dataset"],
            self._config["owner"],
        )

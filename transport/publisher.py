"""The publisher process: answers the writer's FETCHes from the log ring.

It holds nothing that the ring does not hold, so it can be killed and started again at any moment. When control dies it
closes the log in control's place; when the supervisor dies it goes on until everything is durable.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from transport import messages as msg
from transport.errors import CodecError
from transport.link import Link, child_link
from transport.outbox import InFlight, Outbox
from transport.records import EndReason, EpisodeEnded, Judgement, SessionEnded, Verdict
from transport.ring import LogRing
from transport.schema import Schema
from transport.sockets import publisher_socket
from transport.wire import parts_of

_BEAT_S = 0.25
# A writer says something every quarter second; this long without a word means that the link is dead.
_SILENCE_S = 5.0
# The writer's answer to HELLO takes as long as it measures the codec and recovers a journal.
_WELCOME_S = 30.0


class Publisher:
    """One session's publisher. `run` returns the process's exit code."""

    def __init__(self, ring: LogRing, config: dict[str, Any], link: Link, fds: dict[str, int]) -> None:
        self._ring = ring
        self._link = link
        self._config = config
        self._wake_fd, self._control_fd, self._supervisor_fd = fds["wake"], fds["control"], fds["supervisor"]
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        for fd in fds.values():
            self._poller.register(fd, zmq.POLLIN)
        self._in_flight = InFlight()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes]
        self._writer: msg.Status | None = None
        self._durable_seq = ring.tail_seq - 1
        self._finished = self._refused = False
        self._next_beat_s = 0.0
        self._connect()

    def run(self) -> int:
        """Serve until the writer has finished the session, or has refused it."""
        while not (self._finished or self._refused):
            ready = dict(self._poller.poll(50))
            if self._wake_fd in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake_fd)
            if self._control_fd in ready:
                self._poller.unregister(self._control_fd)
                self._close_log("control process ended without ending the session")
            if self._supervisor_fd in ready:
                self._poller.unregister(self._supervisor_fd)
            if self._monitor in ready:
                self._on_monitor()
            self._receive()
            self._send_records()
            self._ring.free_to(self._in_flight.free_to(self._durable_seq))
            self._beat()
        if self._finished and self._socket is not None:
            self._socket.send(msg.pack(msg.Bye(self._outbox.epoch)))
            self._socket.close(linger=1000)
        self._context.term()
        return 0 if self._finished else 1

    # -- the connection ------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """A fresh socket with a new epoch: whatever is still under way on an old one can then be told apart."""
        if self._socket is not None:
            self._poller.unregister(self._monitor)
            self._poller.unregister(self._socket)
            self._socket.disable_monitor()
            self._socket.close(linger=0)
        self._outbox = Outbox(self._ring.next_epoch())
        self._socket = publisher_socket(self._context, self._config.get("keys"))
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(self._socket, zmq.POLLIN)
        self._socket.connect(self._config["address"])
        self._said_hello = self._welcome = False
        self._last_word_s = time.monotonic()

    def _on_monitor(self) -> None:
        event = recv_monitor_message(self._monitor)["event"]
        if event == zmq.EVENT_DISCONNECTED:
            self._link.offer({"writer": "lost"})
            self._connect()
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED and not self._said_hello:
            self._said_hello = True
            self._last_word_s = time.monotonic()
            hello = msg.Hello(
                msg.PROTOCOL,
                self._ring.session_id,
                self._outbox.epoch,
                self._ring.schema.to_wire(),
                self._config["dataset"],
                self._config["owner"],
            )
            self._out(hello)

    def _out(self, message: msg.Message) -> None:
        assert self._socket is not None
        # A full queue means that the link is stuck; the message is a beat or a HELLO, and silence will reconnect.
        with contextlib.suppress(zmq.Again):
            self._socket.send(msg.pack(message), zmq.NOBLOCK)

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = msg.unpack(parts[0])
            except CodecError as error:
                self._link.offer({"warning": f"ignored a message of the writer: {error}"})
                continue
            if getattr(message, "epoch", None) != self._outbox.epoch:
                continue
            self._last_word_s = time.monotonic()
            self._handle(message)

    def _handle(self, message: msg.Message) -> None:
        if isinstance(message, msg.Fetch):
            if self._outbox.fetch(message):
                self._durable_seq = max(self._durable_seq, message.durable_seq)
        elif isinstance(message, msg.Status):
            self._writer = message
            self._durable_seq = max(self._durable_seq, message.durable_seq)
            self._finished = message.finished
            if self._finished:
                self._link.send({"finished": True})
        elif isinstance(message, msg.Episode):
            self._link.offer(
                {
                    "episode": message.episode_id,
                    "state": message.state,
                    "index": message.index,
                    "frames": message.frames,
                    "missing": message.missing,
                    "detail": message.detail,
                }
            )
        elif isinstance(message, msg.Welcome):
            self._welcome = True
            self._link.offer({"writer": "welcome", "root": message.dataset_root})
        elif isinstance(message, msg.Refused):
            self._refused = True
            self._link.send({"refused": message.reason})

    # -- the records ---------------------------------------------------------------------------------------------

    def _send_records(self) -> None:
        assert self._socket is not None
        outbox, ring = self._outbox, self._ring
        if 0 < outbox.cursor < ring.tail_seq:
            last = ring.tail_seq - 1
            gap = msg.Gap(outbox.epoch, outbox.generation, outbox.cursor, last, "no longer held by the publisher")
            self._link.offer({"warning": f"records {outbox.cursor} to {last} were asked for and are gone"})
            self._out(gap)
            outbox.skip_to(ring.tail_seq)
        while outbox.may_send(ring.head_seq):
            seq = outbox.cursor
            kind, episode_id, frame_index, slot = ring.read(seq)
            parts, crcs = parts_of(kind, slot, ring.schema)
            header = msg.Data(
                outbox.epoch, outbox.generation, seq, kind, episode_id, frame_index, ring.head_seq, tuple(crcs)
            )
            try:
                sending = self._socket.send_multipart([msg.pack(header), *parts], zmq.NOBLOCK, copy=False, track=True)
            except zmq.Again:
                return
            assert sending is not None  # track=True
            self._in_flight.add(seq, sending)
            outbox.sent(sum(memoryview(part).nbytes for part in parts))

    def _close_log(self, detail: str) -> None:
        """End what control left open, in its place; from here on nobody else appends."""
        ring = self._ring
        if ring.session_ended:
            return
        if ring.open_episode is not None:
            episode_id, frames = ring.open_episode
            ring.append_event(EpisodeEnded(episode_id, frames, EndReason.ABORTED, detail))
        if ring.undecided_episode is not None:
            ring.append_event(Verdict(ring.undecided_episode, Judgement.ABORTED))
        ring.append_event(SessionEnded(detail))

    # -- signs of life -------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now_s = time.monotonic()
        patience_s = _SILENCE_S if self._welcome else _WELCOME_S
        if self._said_hello and now_s - self._last_word_s > patience_s:
            self._link.offer({"writer": "silent"})
            self._connect()
        if now_s < self._next_beat_s:
            return
        self._next_beat_s = now_s + _BEAT_S
        if self._welcome:
            outbox = self._outbox
            self._out(msg.Head(outbox.epoch, outbox.generation, outbox.cursor, self._ring.head_seq))
        writer = self._writer
        self._link.offer(
            {
                "head_seq": self._ring.head_seq,
                "durable_seq": self._durable_seq,
                "fill_slots": self._ring.fill_slots,
                "connected": self._welcome,
                "received_seq": 0 if writer is None else writer.received_seq,
                "committing": 0 if writer is None else writer.committing,
                "disk_free_bytes": -1 if writer is None else writer.disk_free_bytes,
                "warning": "" if writer is None else writer.warning,
            }
        )


def main() -> int:
    """Entry of the process; its link's first message has `schema`, `dataset`, `address`, `owner` and four fds."""
    link, config, fds = child_link()
    names = ("ring", "wake", "control", "supervisor")
    by_name = dict(zip(names, fds, strict=True))
    ring = LogRing.attach(by_name.pop("ring"), Schema.from_wire(config["schema"]))
    return Publisher(ring, config, link, by_name).run()


if __name__ == "__main__":
    raise SystemExit(main())

"""The null sink of a load test: a writer that fetches everything, calls it durable at once and keeps nothing.

What it leaves out is encoding, journal and commit, so a run against it shows the loop, the ring and the transport
alone. Every record is checked as a writer checks it (order, sizes, CRC), and every synthetic picture's frame number is
read, so that a picture counts only under its own number.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import numpy as np
import zmq

from control.envs import frame_code
from transport import messages as msg
from transport.errors import CodecError
from transport.fetcher import Fetcher
from transport.link import Link, child_link
from transport.records import EpisodeEnded, RecordKind, SessionEnded, unpack_event
from transport.schema import Schema
from transport.sockets import writer_socket

_POLL_MS = 20
_BEAT_POLLS = 10
_BATCH = 64
_WINDOW_BYTES = 96 << 20


class NullSink:
    """Serves one session.

    Args:
        numbered: whether the pictures carry frame numbers, counted from 0 over the session.
    """

    def __init__(self, address: str, *, numbered: bool) -> None:
        self._numbered = numbered
        self._context = zmq.Context()
        self._socket = writer_socket(self._context)
        self._socket.bind(address)
        self._schema: Schema | None = None
        self._fetcher: Fetcher | None = None
        self._peer = b""
        self._probed_bytes = 0
        self._ended = self._said_bye = False
        self.frames = 0
        self.good_pictures: Counter[str] = Counter()
        self._episodes: list[tuple[int, int]] = []

    def run(self, link: Link) -> None:
        """Serve until the publisher has seen that the session is finished, or the starting process is gone."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(link.fileno(), zmq.POLLIN)
        polls = 0
        last: msg.Fetch | None = None
        while not self._said_bye:
            ready = dict(poller.poll(_POLL_MS))
            if link.fileno() in ready and link.receive() is None:
                break
            self._receive()
            if self._fetcher is None:
                continue
            fetch = self._fetcher.fetch(self._fetcher.received_seq)
            if fetch != last:
                last = fetch
                self._say(fetch)
            polls += 1
            if self._ended or polls % _BEAT_POLLS == 0:
                self._beat()
        self._socket.close(linger=0)
        self._context.term()

    def _receive(self) -> None:
        for _ in range(_BATCH):
            try:
                identity, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if not frames:
                raise CodecError("a message without a header")
            self._handle(identity.bytes, msg.unpack(frames[0].buffer), [frame.buffer for frame in frames[1:]])

    def _handle(self, peer: bytes, message: msg.Message, parts: list[memoryview]) -> None:
        if isinstance(message, msg.Hello):
            received_seq = 0 if self._fetcher is None else self._fetcher.received_seq
            self._peer, self._schema = peer, Schema.from_wire(message.schema)
            self._probed_bytes = 0
            self._fetcher = Fetcher(message.epoch, received_seq, self._schema, _WINDOW_BYTES)
            self._say(msg.Welcome(message.epoch, received_seq, ""))
        elif self._fetcher is None or peer != self._peer:
            return  # of an earlier connection
        elif isinstance(message, msg.Data):
            record = self._fetcher.accept(message, parts)
            if record is not None:
                self._fetcher.consumed(sum(part.nbytes for part in record))
                self._take(message, record)
        elif isinstance(message, msg.Gap):
            self._fetcher.gap(message)
        elif isinstance(message, msg.Probe):
            self._probed_bytes += sum(part.nbytes for part in parts)
            self._say(msg.Probed(message.epoch, self._probed_bytes))
        elif isinstance(message, msg.Bye):
            self._said_bye = True

    def _take(self, data: msg.Data, parts: list[memoryview]) -> None:
        assert self._schema is not None
        if data.kind != RecordKind.FRAME:
            event = unpack_event(data.kind, bytes(parts[0]))
            self._ended = self._ended or isinstance(event, SessionEnded)
            if isinstance(event, EpisodeEnded):
                self._episodes.append((event.episode_id, event.frames))
            return
        for camera, (stream, part) in enumerate(zip(self._schema.pictures, parts[1:], strict=True)):
            picture = np.frombuffer(part, np.uint8).reshape(stream.wire_shape)
            wanted = (self.frames & frame_code.MAX_FRAME_NUMBER, camera)
            if not self._numbered or frame_code.read(picture) == wanted:
                self.good_pictures[stream.key] += 1
        self.frames += 1

    def _beat(self) -> None:
        assert self._fetcher is not None
        epoch, seq = self._fetcher.epoch, self._fetcher.received_seq
        if self._ended:
            for episode_id, frames in self._episodes:
                self._say(msg.Episode(epoch, episode_id, "committed", -1, frames, 0, ""))
        self._say(msg.Status(epoch, seq, seq, 0, -1, self._ended, ""))

    def _say(self, message: msg.Message) -> None:
        # A peer that is gone says HELLO again.
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            self._socket.send_multipart([self._peer, msg.pack(message)], zmq.NOBLOCK)


def main() -> int:
    """Entry of the process; its link's first message has `address` and `numbered`, its last one tells what came."""
    link, config, _ = child_link()
    sink = NullSink(config["address"], numbered=config["numbered"])
    link.send({"listening": True})
    sink.run(link)
    result: dict[str, Any] = {"frames": sink.frames, "good_pictures": dict(sink.good_pictures)}
    link.send({"result": result})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The socket that everybody can reach: what comes in as messages of the protocol, and who is behind them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zmq

from transport import keys, sockets
from transport import messages as msg
from transport.errors import CodecError, OnbeatError, UsageError
from writer import handshake, limits
from writer.doorkeeper import Doorkeeper
from writer.refusals import Refusals

_MESSAGES_A_TURN = 64
# Who it is from, header, row, pictures.
_MAX_PARTS = 3 + handshake.MAX_CAMERAS
# Ended by its own memory limit, as the parent is told.
EXIT_MEMORY = 4


@dataclass(frozen=True, slots=True)
class Received:
    """A message and where it came from.

    Attributes:
        peer: ZeroMQ's name for the connection.
        fd: libzmq's file descriptor of it, which may be closed by now; -1 if unknown.
        key: the public key that the peer has proved to have; empty where no keys are used.
    """

    peer: bytes
    fd: int
    key: str
    message: msg.Message
    parts: list[memoryview]


class Front:
    """The bound ROUTER with its doorkeeper and its memory limit.

    Args:
        address: where to listen.
        key_folder: of the writer's keys; None lets in whoever reaches the address.
        memory_bytes: resident memory at which strangers are thrown out and, if that does not help, the process ends.
        log: one line for people; must return at once.

    Raises:
        UsageError: the keys or the address cannot be used.
    """

    def __init__(
        self, address: str, key_folder: Path | None, memory_bytes: int, refusals: Refusals, log: Callable[[str], None]
    ) -> None:
        self._refusals, self._log = refusals, log
        pair = None if key_folder is None else keys.load_writer(key_folder)
        self._with_keys = pair is not None
        limits.share_memory()
        memory = limits.MemoryWatch(memory_bytes, self._relieve, self._give_up)
        self._context = zmq.Context()
        self.socket = sockets.writer_socket(self._context, pair)
        self._doorkeeper = Doorkeeper(
            self._context,
            self.socket,
            refusals,
            limits.strangers_allowed(limits.raise_file_limit()),
            None if key_folder is None else lambda: keys.load_allowed(key_folder),
            memory.check,
        )
        self._doorkeeper.start()
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"cannot listen at {address} ({error.strerror}); choose another --bind") from error

    @property
    def address(self) -> str:
        """Where it listens, with the port that the system chose for port 0."""
        return str(self.socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def receive(self) -> Iterator[Received]:
        """What has come in, at most so much that nobody waits long for his turn.

        Raises:
            OnbeatError: the doorkeeper has ended.
        """
        if not self._doorkeeper.is_alive():
            raise OnbeatError("nobody watches the connections any more; ingest starts again")
        for _ in range(_MESSAGES_A_TURN):
            frames = self._next_message()
            if frames is None:
                return
            peer, header, *parts = frames
            try:
                if len(frames) > _MAX_PARTS:
                    raise CodecError("more parts than any record has")
                message = msg.unpack(header.buffer)
            except CodecError:
                self._refusals.message("not a message")
                self.throw_out(_fd(header))
                continue
            key = str(header.get("User-Id")) if self._with_keys else ""
            yield Received(peer.bytes, _fd(header), key, message, [part.buffer for part in parts])

    def say(self, peer: bytes, message: msg.Message) -> None:
        """Send, unless the peer is gone or its queue is full; then it will say HELLO again."""
        with contextlib.suppress(zmq.Again, zmq.ZMQError):
            self.socket.send_multipart([peer, msg.pack(message)], zmq.NOBLOCK)

    def let_in(self, fd: int) -> int | None:
        """Somebody asks for a session; returns the connection's number for `trust` and `see_off`."""
        return self._doorkeeper.let_in(fd)

    def trust(self, connection: int | None) -> None:
        """The connection is the session's."""
        self._doorkeeper.trust(connection)

    def see_off(self, connection: int | None) -> None:
        """The connection is nobody's any more."""
        self._doorkeeper.see_off(connection)

    def throw_out(self, fd: int) -> None:
        """Shut down a connection that said what no recorder says, unless it is the session's."""
        self._doorkeeper.throw_out(fd, "said what no recorder says")

    def close(self) -> None:
        self._doorkeeper.stop()
        self.socket.close(linger=0)
        self._context.destroy(linger=0)

    def _next_message(self) -> list[zmq.Frame] | None:
        """The next message; of one with more parts than any record has, the first ones and one too many."""
        try:
            frames = [self.socket.recv(zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return None
        # The parts of a message arrive together, or not at all.
        while self.socket.getsockopt(zmq.RCVMORE):
            frame = self.socket.recv(zmq.NOBLOCK, copy=False)
            if len(frames) <= _MAX_PARTS:
                frames.append(frame)
        return frames

    def _relieve(self) -> None:
        self._doorkeeper.clear("the memory limit was reached")
        limits.give_memory_back()

    def _give_up(self, used_bytes: int) -> None:
        self._log(f"ingest used {used_bytes / 1e9:.1f} GB, above its limit; it starts again")
        os._exit(EXIT_MEMORY)


def _fd(frame: zmq.Frame) -> int:
    """Where a frame came from; unknown for those who greet as ZeroMQ did before version 3 of its protocol."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1

"""Throw at a writer's port whatever a broken or hostile peer might: for tests and fault drills, beside a good session.

    python -m scripts.fuzz_socket --address=tcp://127.0.0.1:5757 --seconds=60

Loads: random bytes, greetings that are almost right, frames that claim to be huge, messages that never end, messages
of the protocol with bits and fields changed, and idle connections by the thousand. Each runs in a thread of its own
until the time is over, and says how often it did what; whether the writer lives is for the caller to see.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack
import zmq

from transport import messages as msg
from transport.dataset_spec import DatasetSpec
from transport.keys import RecorderKeys, load_recorder
from transport.records import RecordKind
from transport.schema import HWC, Kind, Schema, Stream
from transport.sockets import keys_to_wire, publisher_socket

_CONNECT_S = 2.0
_GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
_READY = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
_MORE, _LONG, _COMMAND = 1, 2, 4


class Fuzz:
    """All loads against one address.

    Args:
        address: tcp://HOST:PORT of a writer.
        seconds: how long.
        idle: connections that are opened and say nothing, or only what a handshake says.
        keys: of a recorder that the writer lets in; None changes messages without any.
        seed: of everything random.

    Attributes:
        done: what was done, by load.
    """

    def __init__(
        self, address: str, seconds: float, *, idle: int = 5000, keys: RecorderKeys | None = None, seed: int = 0
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme != "tcp" or parts.hostname is None or parts.port is None:
            raise ValueError(f"{address} found, expected tcp://HOST:PORT")
        self.done: Counter[str] = Counter()
        self._address, self._peer = address, (parts.hostname.removeprefix("::ffff:"), parts.port)
        self._idle, self._keys, self._seed = idle, keys, seed
        self._seconds = seconds
        self._until_s = 0.0

    def run(self) -> Counter[str]:
        """Run all loads at once, until the time is over.

        Raises:
            OSError: nobody listens at the address to begin with.
        """
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        socket.create_connection(self._peer, _CONNECT_S).close()
        self._until_s = time.monotonic() + self._seconds
        loads: Sequence[Callable[[random.Random], None]] = (
            self._random_bytes,
            self._almost_greetings,
            self._huge_claims,
            self._endless_messages,
            self._changed_messages,
            self._idle_connections,
        )
        threads = [
            threading.Thread(target=load, args=(random.Random(f"{self._seed}{load.__name__}"),), daemon=True)
            for load in loads
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.done

    # -- bytes below ZeroMQ's messages ---------------------------------------------------------------------------

    def _random_bytes(self, rng: random.Random) -> None:
        while (peer := self._connected()) is not None:
            with peer, contextlib.suppress(OSError):
                for _ in range(rng.randrange(1, 20)):
                    peer.sendall(rng.randbytes(rng.choice([1, 11, 64, 1000, 65536])))
            self.done["random streams"] += 1

    def _almost_greetings(self, rng: random.Random) -> None:
        while (peer := self._connected()) is not None:
            said = bytearray(_GREETING + _framed(_READY, _COMMAND) + _framed(rng.randbytes(40)))
            for _ in range(rng.randrange(1, 6)):
                said[rng.randrange(len(said))] = rng.randrange(256)
            with peer, contextlib.suppress(OSError):
                peer.sendall(said[: rng.randrange(1, len(said) + 1)])
                if rng.random() < 0.5:
                    peer.recv(256)
            self.done["greetings"] += 1

    def _huge_claims(self, rng: random.Random) -> None:
        while (peer := self._greeted(rng)) is not None:
            claim = rng.choice([1 << 26, (1 << 26) + 65, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
            with peer, contextlib.suppress(OSError):
                peer.sendall(bytes([_LONG | rng.choice([0, _MORE, _COMMAND])]) + struct.pack(">Q", claim))
                for _ in range(rng.randrange(40)):
                    peer.sendall(bytes(1 << 20))
            self.done["huge claims"] += 1

    def _endless_messages(self, rng: random.Random) -> None:
        while (peer := self._greeted(rng)) is not None:
            size = rng.choice([0, 0, 1, 200, 1 << 16, 1 << 20])
            piece = _framed(bytes(size), _MORE) * max((1 << 16) // (size + 2), 1)
            with peer, contextlib.suppress(OSError):
                while time.monotonic() < self._until_s:
                    peer.sendall(piece)
                    self.done["endless bytes"] += len(piece)
            self.done["endless messages"] += 1

    def _idle_connections(self, rng: random.Random) -> None:
        peers: list[socket.socket] = []
        while (peer := self._greeted(rng) if rng.random() < 0.1 else self._connected()) is not None:
            peers.append(peer)
            self.done["idle connections"] += 1
            if len(peers) > self._idle:
                peers.pop(rng.randrange(len(peers))).close()
        for peer in peers:
            peer.close()

    def _connected(self) -> socket.socket | None:
        """A connection; None when the time is over."""
        while time.monotonic() < self._until_s:
            try:
                peer = socket.create_connection(self._peer, _CONNECT_S)
            except OSError:
                self.done["connections refused"] += 1
                threading.Event().wait(0.05)
                continue
            peer.settimeout(1.0)
            return peer
        return None

    def _greeted(self, rng: random.Random) -> socket.socket | None:
        """A connection that has finished ZeroMQ's handshake, where the writer takes anybody."""
        peer = self._connected()
        if peer is not None:
            with contextlib.suppress(OSError):
                peer.sendall(_GREETING + _framed(_READY, _COMMAND))
                # Who goes on before the writer is ready has broken the handshake; some do.
                if rng.random() < 0.9:
                    answer = b""
                    while len(answer) <= len(_GREETING) and (more := peer.recv(4096)):
                        answer += more
        return peer

    # -- messages ------------------------------------------------------------------------------------------------

    def _changed_messages(self, rng: random.Random) -> None:
        if self._keys is not None:
            self._changed_messages_with_keys(rng, self._keys)
            return
        while (peer := self._greeted(rng)) is not None:
            with peer, contextlib.suppress(OSError):
                for _ in range(rng.randrange(1, 30)):
                    *parts, last = changed(rng)
                    peer.sendall(b"".join(_framed(part, _MORE) for part in parts) + _framed(last))
                    self.done["changed messages"] += 1

    def _changed_messages_with_keys(self, rng: random.Random, keys: RecorderKeys) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # One socket that libzmq connects again: closed in the middle of a message, a socket can end the whole process
        # (libzmq issue 3442).
        peer = publisher_socket(context, keys_to_wire(keys))
        peer.setsockopt(zmq.SNDTIMEO, 100)
        peer.connect(self._address)
        while time.monotonic() < self._until_s:
            with contextlib.suppress(zmq.Again):
                peer.send_multipart(changed(rng))
                self.done["changed messages"] += 1
            while peer.poll(0):
                peer.recv_multipart()
        peer.poll(500)
        context.destroy(linger=0)


def real_messages(rng: random.Random) -> list[bytes]:
    """A message of the protocol, as a publisher or a writer would send it: its parts."""
    pixels = bytes(24 * 32 * 3)
    row = bytes(8)
    schema = Schema(
        (
            Stream("observation.state", "float32", (2,)),
            Stream("observation.images.cam", "uint8", (24, 32, 3), Kind.VIDEO, HWC),
        )
    )
    epoch, number = rng.randrange(5), rng.randrange(1 << 40)
    event: bytes = msgpack.packb((rng.randrange(4), "task"))
    frame = msg.Data(epoch, 0, number, RecordKind.FRAME, 0, number, number, (zlib.crc32(row), zlib.crc32(pixels)))
    began = msg.Data(epoch, 0, 1, RecordKind.EPISODE_BEGAN, 0, 0, number, (zlib.crc32(event),))
    spec = DatasetSpec("fuzz/fuzz", 30).to_wire()
    session_id = f"{rng.getrandbits(128):032x}"
    choices: list[list[bytes]] = [
        [msg.pack(msg.Hello(msg.PROTOCOL, session_id, epoch, schema.to_wire(), spec, "fuzz"))],
        [msg.pack(frame), row, pixels],
        [msg.pack(began), event],
        [msg.pack(msg.Head(epoch, 0, number, number))],
        [msg.pack(msg.Gap(epoch, 0, 1, number, "gone"))],
        [msg.pack(msg.Bye(epoch))],
        [msg.pack(msg.Probe(epoch)), bytes(1000)],
        [msg.pack(msg.Welcome(epoch, number, "/"))],
        [msg.pack(msg.Refused(epoch, "no"))],
        [msg.pack(msg.Fetch(epoch, 0, 1, number, number))],
        [msg.pack(msg.Episode(epoch, 0, "committed", 0, 1, 0, ""))],
        [msg.pack(msg.Status(epoch, 1, 1, 0, 1, True, ""))],
    ]
    return rng.choice(choices)


def changed(rng: random.Random) -> list[bytes]:
    """A message with something wrong: bits, fields, parts, or nothing but its sender."""
    parts = real_messages(rng)
    match rng.randrange(7):
        case 0:
            return parts
        case 1:
            index = rng.randrange(len(parts))
            parts[index] = _flipped(parts[index], rng)
        case 2:  # behind the checksum, where every check of a field is reached
            parts[0] = _sealed(_flipped(parts[0][:-4], rng))
        case 3:
            values = list(msgpack.unpackb(parts[0][:-4], use_list=False))
            values[rng.randrange(len(values))] = _odd_value(rng)
            parts[0] = _sealed(msgpack.packb(values))
        case 4:
            parts[-1] = parts[-1][: rng.randrange(len(parts[-1]) + 1)]
        case 5:
            parts += [rng.randbytes(rng.randrange(100))] * rng.choice([1, 3, 40, 3000])
        case _:
            parts = [_sealed(rng.randbytes(rng.randrange(200)))]
    return parts


def _odd_value(rng: random.Random) -> Any:
    return rng.choice(
        [
            None, True, -1, 0, (1 << 64) - 1, -(1 << 63), 1e308, float("nan"), "", "../" * 50, "x" * 5000, "\0\x1b[2J",
            b"\xff" * 50, [], [[]] * 50, {}, {"streams": [], "telemetry": []}, {"": {}}, [1 << 33, -5],
        ]
    )  # fmt: skip


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed_data = bytearray(data)
    for _ in range(rng.randrange(1, 4) if data else 0):
        changed_data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed_data)


def _sealed(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(4, "little")


def _framed(body: bytes, flags: int = 0) -> bytes:
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | _LONG]) + struct.pack(">Q", len(body)) + body


def main() -> int:
    """Entry of the program: prints what was done as one line of JSON."""
    parser = argparse.ArgumentParser(prog="fuzz_socket", description=__doc__)
    parser.add_argument("--address", required=True, help="tcp://HOST:PORT of a writer")
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections")
    parser.add_argument("--keys", type=Path, default=None, help="key file of a recorder, for the changed messages")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    arguments = parser.parse_args()
    keys = None if arguments.keys is None else load_recorder(arguments.keys)
    fuzz = Fuzz(arguments.address, arguments.seconds, idle=arguments.idle, keys=keys, seed=arguments.seed)
    print(json.dumps(fuzz.run()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Peers that send garbage: random bytes, mutated real messages, endless multipart messages, idle connections."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq

from transport import messages as msg

_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


@contextmanager
def fuzzing(port: int, rng: random.Random, idle_connections: int) -> Iterator[dict[str, int]]:
    """Attack the port from several threads until the context is left; yields how much of each was sent."""
    stop = threading.Event()
    counts: dict[str, int] = {}
    attacks: list[Callable[[int, random.Random], None]] = [_random_bytes, _mutated, _endless]
    held: list[socket.socket] = []

    def repeat(attack: Callable[[int, random.Random], None], seed: int) -> None:
        mine = random.Random(seed)
        while not stop.is_set():
            with contextlib.suppress(OSError, zmq.ZMQError):
                attack(port, mine)
            counts[attack.__name__.strip("_")] = counts.get(attack.__name__.strip("_"), 0) + 1
            time.sleep(0.01)

    def idle() -> None:
        while not stop.is_set() and len(held) < idle_connections:
            try:
                held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
            except OSError:
                time.sleep(0.05)
            counts["idle"] = len(held)

    threads = [threading.Thread(target=repeat, args=(attack, rng.random()), daemon=True) for attack in attacks]
    threads.append(threading.Thread(target=idle, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
        for each in held:
            each.close()


def _random_bytes(port: int, rng: random.Random) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
        if rng.random() < 0.5:
            peer.sendall(_GREETING)
        for _ in range(rng.randrange(1, 8)):
            peer.sendall(rng.randbytes(rng.randrange(1, 1 << 14)))


def _mutated(port: int, rng: random.Random) -> None:
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    try:
        peer.setsockopt(zmq.SNDTIMEO, 200)
        peer.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(20):
            peer.send_multipart(
                [_mutation(rng), *(rng.randbytes(rng.randrange(4096)) for _ in range(rng.randrange(4)))]
            )
    finally:
        context.destroy(linger=0)


def _mutation(rng: random.Random) -> bytes:
    messages: list[msg.Message] = [
        msg.Hello(msg.PROTOCOL, "0" * 32, 1, {"streams": [], "telemetry": []}, {"repo_id": "a/b", "fps": 30}, "fuzz"),
        msg.Head(1, 0, 1, 1 << 40),
        msg.Data(1, 0, 1, 2, 0, 0, 1, (0, 0, 0)),
        msg.Gap(1, 0, 1, 1 << 40, "fuzz"),
        msg.Bye(1),
    ]
    data = bytearray(msg.pack(rng.choice(messages)))
    for _ in range(rng.randrange(4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _endless(port: int, rng: random.Random) -> None:
    """A multipart message that never ends, in frames of ZMTP."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
        peer.sendall(_GREETING)
        ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
        peer.sendall(b"\x04" + bytes([len(ready)]) + ready)
        for _ in range(2000):
            peer.sendall(b"\x03" + (1 << 12).to_bytes(8, "big") + bytes(1 << 12))

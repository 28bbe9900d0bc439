"""Peers that send garbage: random bytes, mutated real messages, endless multipart messages, idle connections."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import select
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import zmq

from transport import messages as msg

_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


@contextmanager
def fuzzing(port: int, rng: random.Random, idle_connections: int) -> Iterator[dict[str, int]]:
    """Attack the port until the context is left; yields how much of each was sent.

    The attackers are processes of their own: what they do to libzmq can end them too, and then another one goes on.
    """
    stop = threading.Event()
    counts: dict[str, int] = {}

    def keep(what: str) -> None:
        while not stop.is_set():
            command = [sys.executable, "-m", "scripts.drills.fuzz", what, str(port), str(rng.randrange(1 << 30))]
            attacker = subprocess.Popen(
                [*command, str(idle_connections)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            before, latest = dict(counts), {}
            assert attacker.stdin is not None
            assert attacker.stdout is not None
            # A line a second; an attacker that is told to end, or dies, closes its output.
            for line in attacker.stdout:
                latest = json.loads(line)
                counts.update({name: before.get(name, 0) + done for name, done in latest.items()})
                if stop.is_set():
                    attacker.stdin.close()
            attacker.stdout.close()
            attacker.wait(30)
            with contextlib.suppress(BrokenPipeError):
                attacker.stdin.close()

    threads = [threading.Thread(target=keep, args=(what,), daemon=True) for what in ("attack", "idle")]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def _attack(port: int, rng: random.Random, counts: dict[str, int], stop: threading.Event) -> None:
    attacks: list[Callable[[int, random.Random], None]] = [_random_bytes, _mutated, _endless]
    while not stop.is_set():
        attack = rng.choice(attacks)
        with contextlib.suppress(OSError, zmq.ZMQError):
            attack(port, rng)
        counts[attack.__name__.strip("_")] = counts.get(attack.__name__.strip("_"), 0) + 1
        stop.wait(0.01)


def _idle(port: int, connections: int, counts: dict[str, int], stop: threading.Event) -> None:
    """Open connections and say nothing; those that are thrown out are replaced."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: deque[socket.socket] = deque()
    while not stop.is_set():
        if len(held) >= connections:
            stop.wait(0.1)
            held.popleft().close()
        try:
            held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
            counts["idle"] = counts.get("idle", 0) + 1
        except OSError:
            stop.wait(0.05)


def main(arguments: list[str]) -> None:
    """An attacker: `attack|idle PORT SEED IDLE_CONNECTIONS`. Says its counts until standard input closes."""
    what, port, seed, idle_connections = arguments[0], *map(int, arguments[1:])
    stop = threading.Event()
    counts: dict[str, int] = {}
    work: list[Callable[[], None]] = [lambda: _idle(port, idle_connections, counts, stop)]
    if what == "attack":
        work = [lambda i=i: _attack(port, random.Random(seed + i), counts, stop) for i in range(3)]  # type: ignore[misc]
    for each in work:
        threading.Thread(target=each, daemon=True).start()
    while not select.select([sys.stdin], [], [], 1.0)[0]:
        print(json.dumps(counts), flush=True)
    stop.set()


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


if __name__ == "__main__":
    main(sys.argv[1:])

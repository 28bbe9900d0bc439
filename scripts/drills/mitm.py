"""Sits between recorder and writer at the level of messages, and damages what passes."""

from __future__ import annotations

import random
import threading
from collections import Counter

import zmq

_FAULTS = ("flip", "cut", "grow", "drop part", "drop", "repeat", "reorder")


class Mitm:
    """Forwards whole messages; those from recorder to writer suffer a fault with the given probability.

    Attributes:
        port: where recorders connect to.
        done: how often each fault was done.
    """

    def __init__(self, target_port: int, rng: random.Random, probability: float) -> None:
        self._target = f"tcp://127.0.0.1:{target_port}"
        self._rng, self._probability = rng, probability
        self.done: Counter[str] = Counter()
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self.port = self._front.bind_to_random_port("tcp://127.0.0.1")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mitm", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._context.destroy(linger=0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        backs: dict[bytes, zmq.Socket[bytes]] = {}
        held: list[bytes] | None = None
        while not self._stop.is_set():
            ready = dict(poller.poll(50))
            if self._front in ready:
                identity, *parts = self._front.recv_multipart()
                if identity not in backs:
                    backs[identity] = self._context.socket(zmq.DEALER)
                    backs[identity].connect(self._target)
                    poller.register(backs[identity], zmq.POLLIN)
                messages = self._damaged(parts)
                if messages is None:
                    held, messages = parts, []
                elif held is not None:
                    messages, held = [*messages, held], None
                for message in messages:
                    backs[identity].send_multipart(message)
            for identity, back in backs.items():
                if back in ready:
                    self._front.send_multipart([identity, *back.recv_multipart()])
        for back in backs.values():
            back.close(linger=0)

    def _damaged(self, parts: list[bytes]) -> list[list[bytes]] | None:
        """What is sent in place of a message; None holds it back until after the next one."""
        if self._rng.random() >= self._probability:
            return [parts]
        fault = self._rng.choice(_FAULTS)
        self.done[fault] += 1
        which = self._rng.randrange(len(parts))
        part = bytearray(parts[which])
        match fault:
            case "flip":
                if part:
                    part[self._rng.randrange(len(part))] ^= 1 << self._rng.randrange(8)
            case "cut":
                del part[self._rng.randrange(len(part) + 1) :]
            case "grow":
                part += self._rng.randbytes(1 << 16)
            case "drop part":
                return [[*parts[:which], *parts[which + 1 :]]] if len(parts) > 1 else []
            case "drop":
                return []
            case "repeat":
                return [parts, parts]
            case "reorder":
                return None
        return [[*parts[:which], bytes(part), *parts[which + 1 :]]]

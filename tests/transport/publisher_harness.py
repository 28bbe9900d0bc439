"""A real publisher process between a log ring of the test's own and a writer that the test plays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from wire_strategies import small_schema

from transport import messages as msg
from transport.dataset_spec import DatasetSpec
from transport.fetcher import Fetcher
from transport.lent_pictures import LentPictures
from transport.link import Link, spawn
from transport.records import RecordKind
from transport.ring import LogRing
from transport.schema import Schema
from transport.sockets import writer_socket

LIMIT_S = 30


class Writer:
    """Plays the writer: takes the session, fetches everything, keeps what it got."""

    def __init__(self, address: str, ring: LogRing, *, lends: bool) -> None:
        self._schema = ring.schema
        self._lent = LentPictures(LogRing.attach(ring.fd, ring.schema, read_only=True)) if lends else None
        self.lent_frames = 0
        self._context = zmq.Context()
        self._socket = writer_socket(self._context)
        self._socket.bind(address)
        self._peer = b""
        self._fetcher: Fetcher | None = None
        self.durable_seq = 0
        self.got: dict[int, tuple[msg.Data, list[bytes]]] = {}
        self.gaps: list[msg.Gap] = []
        self.hellos = 0
        self.bye = False

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def serve(
        self, *, window_bytes: int = 1 << 22, finished: bool = False, refuse: str = "", committing: int = 0
    ) -> None:
        """Answer what came and say where we stand, once."""
        if not self._socket.poll(20):
            self._say_status(finished, committing)
            return
        while self._socket.poll(0):
            peer, head, *parts = self._socket.recv_multipart()
            message = msg.unpack(head)
            if isinstance(message, msg.Hello):
                self.hellos += 1
                self._peer = peer
                if refuse:
                    self._send(msg.Refused(message.epoch, refuse))
                    continue
                received = max(self.got, default=0) if not self.gaps else self._fetcher.received_seq
                self._fetcher = Fetcher(
                    message.epoch, max(received, self.durable_seq), self._schema, window_bytes, lent=self._lent
                )
                self._send(msg.Welcome(message.epoch, self.durable_seq, "/dataset"))
            elif peer != self._peer or self._fetcher is None:
                continue
            elif isinstance(message, msg.Data):
                record = self._fetcher.accept(message, parts)
                if record is not None:
                    self.got[message.seq] = (message, [bytes(part) for part in record])
                    self._fetcher.consumed(sum(part.nbytes for part in record))
                    self.lent_frames += len(record) > len(parts)
            elif isinstance(message, msg.Gap):
                if self._fetcher.gap(message):
                    self.gaps.append(message)
            elif isinstance(message, msg.Head):
                self._fetcher.head(message)
            elif isinstance(message, msg.Bye):
                self.bye = True
        self._say_status(finished, committing)

    def _say_status(self, finished: bool, committing: int) -> None:
        fetcher = self._fetcher
        if fetcher is None:
            return
        self._send(fetcher.fetch(self.durable_seq))
        status = msg.Status(fetcher.epoch, fetcher.received_seq, self.durable_seq, committing, -1, finished, "")
        self._send(status)

    def _send(self, message: msg.Message) -> None:
        try:
            self._socket.send_multipart([self._peer, msg.pack(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise


@dataclass
class Bench:
    """The recorder's side: ring, publisher, and processes that stand for control and supervisor."""

    folder: Path
    ring: LogRing
    address: str
    config: dict[str, Any]
    wake_fd: int
    control: subprocess.Popen[bytes]
    supervisor: subprocess.Popen[bytes]
    process: subprocess.Popen[bytes] | None = None
    link: Link | None = None
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def spill(self) -> Path:
        """The session's spill folder."""
        return self.folder / self.ring.session_id

    @property
    def status(self) -> dict[str, Any]:
        """The publisher's newest."""
        self.listen()
        return next((m for m in reversed(self.told) if "head_seq" in m), {})

    def start(self) -> None:
        pidfds = [os.pidfd_open(process.pid) for process in (self.control, self.supervisor)]
        self.process, self.link = spawn("transport.publisher", self.config, [self.ring.fd, self.wake_fd, *pidfds])
        for fd in pidfds:
            os.close(fd)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None
        code = self.process.wait(LIMIT_S)
        self.listen()
        assert self.link is not None
        self.link.close()
        self.link = None
        return code

    def listen(self) -> None:
        while self.link is not None and select.select([self.link.fileno()], [], [], 0)[0]:
            received = self.link.receive()
            if received is None:
                return
            self.told.append(received[0])

    def publish(self, count: int, writer: Writer | None = None) -> None:
        """Append so many frames, waiting for room."""
        deadline_s = time.monotonic() + LIMIT_S
        for _ in range(count):
            while not self.append():
                assert time.monotonic() < deadline_s, f"no room in the ring: {self.status}"
                if writer is not None:
                    writer.serve()
                else:
                    self.pause()

    def append(self) -> bool:
        """Append a frame if there is room."""
        slot = self.ring.next_slot()
        if slot is None:
            return False
        seq = self.ring.head_seq + 1
        for picture in slot.pictures:
            picture[:] = seq % 251
            picture.reshape(-1)[0] = seq // 251
        slot.row["action"] = seq
        self.ring.append_frame(0, seq - 1)
        os.eventfd_write(self.wake_fd, 1)
        return True

    def pause(self) -> None:
        """Wait a moment for the publisher, listening meanwhile."""
        assert self.link is not None
        select.select([self.link.fileno()], [], [], 0.02)
        self.listen()

    def until(self, condition: Any, writer: Writer | None = None, **serve: Any) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"waited in vain: {self.told[-3:]}"
            if writer is not None:
                writer.serve(**serve)
            self.pause()


@contextmanager
def bench(
    folder: Path,
    *,
    frames: int = 20,
    size: int = 24,
    max_bytes: int = 1 << 30,
    give_up_s: float = 120.0,
    schema: Schema | None = None,
    lends: bool = False,
) -> Iterator[Bench]:
    """A ring of `frames` frames of `size` x `size` pixels, and a publisher that was not started yet.

    Args:
        lends: the writer reads pictures out of the ring.
    """
    ring = LogRing.create(schema or small_schema(height=size, width=size), seconds=frames, fps=1)
    address = f"ipc://@onbeat-test-{os.getpid()}-{time.monotonic_ns()}"
    config = {
        "schema": ring.schema.to_wire(),
        "dataset": DatasetSpec("me/test", 30, root="/dataset").to_wire(),
        "address": address,
        "owner": "the test",
        "spill": {"dir": str(folder), "max_bytes": max_bytes},
        "give_up_s": give_up_s,
        "lends": lends,
    }
    wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    standins = [subprocess.Popen(["sleep", "300"]) for _ in range(2)]
    made = Bench(folder, ring, address, config, wake_fd, *standins)
    try:
        yield made
    finally:
        for process in (made.process, *standins):
            if process is not None:
                process.kill()
                process.wait()
        if made.link is not None:
            made.link.close()
        os.close(wake_fd)


@contextmanager
def writer_of(bench: Bench) -> Iterator[Writer]:
    writer = Writer(bench.address, bench.ring, lends=bench.config["lends"])
    try:
        yield writer
    finally:
        writer.close()


def assert_frame(seq: int, data: msg.Data, parts: list[bytes]) -> None:
    """Number, row and every pixel are those that were published as record `seq`."""
    assert (data.seq, data.kind, data.frame_index) == (seq, RecordKind.FRAME, seq - 1)
    for picture in parts[1:]:
        pixels = np.frombuffer(picture, np.uint8)
        assert pixels[0] == seq // 251
        assert (pixels[1:] == seq % 251).all()

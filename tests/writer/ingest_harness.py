"""The real ingest loop in a thread, with a parent and recorders that the test plays; everything over TCP."""

from __future__ import annotations

import os
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import zmq

from transport import messages as msg
from transport.dataset_spec import DatasetSpec
from transport.keys import RecorderKeys
from transport.link import Link
from transport.records import RecordKind
from transport.schema import Schema, Stream
from transport.sockets import keys_to_wire, publisher_socket
from writer.ingest import Ingest

LIMIT_S = 20
# No camera: nothing has to be measured.
SCHEMA = Schema((Stream("observation.state", "float32", (2,)), Stream("action", "float32", (2,))))


class Parent:
    """What the writer's parent would do: grant every dataset, write down what ingest says."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.said: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.grants = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_for(self, key: str, text: str = "") -> dict[str, Any]:
        """Wait until ingest has said something with `key`, and with `text` in its value."""
        deadline_s = time.monotonic() + LIMIT_S
        with self._changed:
            while True:
                for message in self.said:
                    if key in message and text in str(message[key]):
                        return message
                left_s = deadline_s - time.monotonic()
                assert left_s > 0, f"no {key!r} with {text!r} in {self.said}"
                self._changed.wait(left_s)

    def stop(self) -> None:
        self._link.send({"stop": True})

    def close(self) -> None:
        """After ingest's end."""
        self._thread.join(LIMIT_S)
        self._link.close()

    def _serve(self) -> None:
        while (received := self._link.receive()) is not None:
            with self._changed:
                self.said.append(received[0])
                self._changed.notify_all()
            if "open" in received[0]:
                self._link.send({"opened": True} if self.grants else {"refused": "it is being recorded by somebody"})


class Recorder:
    """Plays a publisher on one connection.

    Args:
        session_id: 32 hexadecimal digits; a new one if not given.
    """

    def __init__(
        self,
        address: str,
        *,
        session_id: str = "",
        epoch: int = 1,
        repo_id: str = "me/pick",
        owner: str = "arm1",
        schema: Schema = SCHEMA,
        keys: RecorderKeys | None = None,
    ) -> None:
        self.session_id = session_id or uuid.uuid4().hex
        self.epoch = epoch
        self.greeting = msg.Hello(
            msg.PROTOCOL, self.session_id, epoch, schema.to_wire(), DatasetSpec(repo_id, 30).to_wire(), owner
        )
        self._schema = schema
        self._context = zmq.Context()
        self._socket = publisher_socket(self._context, None if keys is None else keys_to_wire(keys))
        self._socket.setsockopt(zmq.IMMEDIATE, 0)
        self._socket.connect(address)
        self.last: dict[type, msg.Message] = {}

    def close(self) -> None:
        self._context.destroy(linger=0)

    def say(self, message: msg.Message | bytes, *parts: bytes) -> None:
        self._socket.send_multipart([message if isinstance(message, bytes) else msg.pack(message), *parts])

    def hello(self) -> msg.Welcome | msg.Refused:
        """Ask for the session; the answer."""
        self.say(self.greeting)
        return self.hear(msg.Welcome, msg.Refused)

    def record(
        self, seq: int, kind: RecordKind, fields: Sequence[Any] = (), *, episode: int = 0, frame: int = 0
    ) -> None:
        """Send a record; a frame's row is zeros."""
        body = bytes(self._schema.row_dtype.itemsize) if kind is RecordKind.FRAME else msgpack.packb(tuple(fields))
        self.say(msg.Data(self.epoch, 0, seq, kind, episode, frame, seq, (zlib.crc32(body),)), body)

    def hear[M: msg.Message](self, *kinds: type[M], durable_seq: int = -1, warning: str = "") -> M:
        """Wait for a message of one of the kinds; of STATUS and FETCH, one with such figures."""
        deadline_s = time.monotonic() + LIMIT_S
        while True:
            left_ms = int((deadline_s - time.monotonic()) * 1000)
            assert left_ms > 0, f"none of {[kind.__name__ for kind in kinds]} came; last: {self.last}"
            if not self._socket.poll(left_ms):
                continue
            message = msg.unpack(self._socket.recv_multipart()[0])
            self.last[type(message)] = message
            if (
                isinstance(message, kinds)
                and getattr(message, "durable_seq", durable_seq) >= durable_seq
                and warning in getattr(message, "warning", warning)
            ):
                return message


@contextmanager
def ingesting(
    base: Path, *, keys: Path | None = None, session: dict[str, str] | None = None
) -> Iterator[tuple[str, Parent]]:
    """Run ingest in a thread; yields where it listens and its parent. It must be alive at the end."""
    ours, theirs = Link.pair()
    parent = Parent(ours)
    bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    config = {
        "address": "tcp://127.0.0.1:0",
        "base": str(base),
        "session": session,
        "keys": None if keys is None else str(keys),
        "memory_bytes": None,
        "may_upload": True,
    }
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            Ingest(config, theirs, *bells).run()
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            theirs.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield parent.wait_for("listening")["listening"], parent
        assert not failures
    finally:
        parent.stop()
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        parent.close()
        for fd in bells:
            os.close(fd)

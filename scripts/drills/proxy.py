"""A TCP link in between that can be cut, stalled, delayed and narrowed, without privileges.

What has been taken in is delivered late, never lost or reordered, as TCP over a bad link does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable

_CHUNK_BYTES = 64 << 10
# What a real link would have under way in its buffers.
_BUFFERED_CHUNKS = 64


class Link:
    """Forwards connections to `127.0.0.1:target_port`; settings may be changed at any time, from any thread.

    Attributes:
        port: where to connect to.
        delay_s: one way.
        stall: seconds that a chunk waits on top, asked for each chunk.
        bytes_per_s: in each direction; None is as fast as it goes.
    """

    def __init__(self, target_port: int, rng: random.Random) -> None:
        self._target_port = target_port
        self.rng = rng
        self.delay_s = 0.0
        self.stall: Callable[[], float] = lambda: 0.0
        self.bytes_per_s: float | None = None
        self.forwarded_bytes = 0
        self._open = threading.Event()
        self._open.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()
        self._ready.wait()

    def pause(self) -> None:
        """Nothing gets through, nobody is told: a cable is pulled."""
        self._open.clear()

    def resume(self) -> None:
        self._open.set()
        self._refusing = False

    def cut(self) -> None:
        """All connections are reset and new ones refused."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._close_all)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._close_all()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for each in (writer, far_writer):
            self._writers.discard(each)
            each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BUFFERED_CHUNKS)
        sender = asyncio.create_task(self._send(waiting, writer))
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await waiting.put((time.monotonic() + self.delay_s + self.stall(), data))
            await waiting.put((0.0, b""))
            await sender
        finally:
            sender.cancel()

    async def _send(self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due_s, data = await waiting.get()
            if not data:
                return
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            while not self._open.is_set():
                await asyncio.sleep(0.02)
            if self.bytes_per_s is not None:
                await asyncio.sleep(len(data) / self.bytes_per_s)
            writer.write(data)
            await writer.drain()
            self.forwarded_bytes += len(data)

"""The pseudo-terminal, and the loop of the process: bytes in, answers out when they are due, console, end of life."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import socket
import termios
import time
import tty
from pathlib import Path

from scripts.emulators.feetech.bus import Bus
from scripts.emulators.feetech.console import Console
from scripts.emulators.feetech.packets import RequestStream

_NS = 1_000_000_000
_READ_BYTES = 4096
# Sleeping is too coarse for answers 80 us apart; the last stretch before one is due is spent polling.
_SPIN_NS = 250_000
_CONSOLE_LIMIT_S = 2.0
_SPEEDS = {
    termios.B1000000: 1_000_000,
    termios.B500000: 500_000,
    termios.B115200: 115_200,
    termios.B57600: 57_600,
    termios.B38400: 38_400,
    termios.B19200: 19_200,
}


class Port:
    """A serial port with a bus behind it.

    Args:
        link: a symbolic link to make to the terminal, and to remove at the end; None: none.
        console: where the console's socket is to be.
    """

    def __init__(self, bus: Bus, link: Path | None, console: Path | None) -> None:
        self._bus = bus
        self._console = Console(bus)
        self._stream = RequestStream()
        self._due: list[tuple[int, int, bytes]] = []
        self._order = itertools.count()
        self._cleanup = contextlib.ExitStack()
        self._master, self._slave = os.openpty()
        self._cleanup.callback(os.close, self._master)
        # Held open: else the master fails to read whenever no driver has the port open.
        self._cleanup.callback(os.close, self._slave)
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.name = os.ttyname(self._slave)
        if link:
            _replace_link(link, self.name)
            self._cleanup.callback(link.unlink, missing_ok=True)
        self._poll = select.epoll()
        self._cleanup.callback(self._poll.close)
        self._poll.register(self._master, select.EPOLLIN)
        self._listener = self._listen(console) if console else None
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}

    def close(self) -> None:
        """Remove link and socket; a driver that has the port open loses it."""
        for connection, _ in self._clients.values():
            connection.close()
        self._cleanup.close()

    def run(self, until_ns: int, parent_fd: int) -> str:
        """Serve until `until_ns` on CLOCK_MONOTONIC or until the process behind `parent_fd` ends; returns why."""
        self._poll.register(parent_fd, select.EPOLLIN)
        while (now_ns := time.monotonic_ns()) < until_ns:
            for fd, _ in self._poll.poll(self._timeout_s(now_ns, until_ns)):
                if fd == parent_fd:
                    return "its parent has ended"
                if fd == self._master:
                    self._receive()
                elif self._listener and fd == self._listener.fileno():
                    self._welcome(self._listener)
                else:
                    self._serve(fd)
            self._send_due()
        return "its lifetime is over"

    def _timeout_s(self, now_ns: int, until_ns: int) -> float:
        next_ns = min(until_ns, self._due[0][0] - _SPIN_NS) if self._due else until_ns
        return max(0, next_ns - now_ns) / _NS

    def _receive(self) -> None:
        data = os.read(self._master, _READ_BYTES)
        now_ns = time.monotonic_ns()
        baud = _SPEEDS.get(termios.tcgetattr(self._slave)[5], 0)
        for request in self._stream.feed(data, now_ns):
            for answer in self._bus.handle(request, now_ns, baud):
                heapq.heappush(self._due, (answer.due_ns, next(self._order), answer.data))
        self._bus.history.counts["skipped bytes"] = self._stream.skipped_bytes

    def _send_due(self) -> None:
        counts = self._bus.history.counts
        while self._due and self._due[0][0] <= (now_ns := time.monotonic_ns()):
            due_ns, _, data = heapq.heappop(self._due)
            # Tells a fault that was ordered from a machine too busy to emulate: see counts.
            counts["worst lateness us"] = max(counts["worst lateness us"], (now_ns - due_ns) // 1000)
            try:
                written = os.write(self._master, data)
            except BlockingIOError:
                written = 0
            # Nobody reads: like a port's own buffer, this one overflows.
            if written < len(data):
                counts["overflowed bytes"] += len(data) - written

    def _listen(self, path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._cleanup.callback(listener.close)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        self._cleanup.callback(path.unlink, missing_ok=True)
        listener.listen()
        self._poll.register(listener.fileno(), select.EPOLLIN)
        return listener

    def _welcome(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(_CONSOLE_LIMIT_S)
        self._clients[connection.fileno()] = (connection, bytearray())
        self._poll.register(connection.fileno(), select.EPOLLIN)

    def _serve(self, fd: int) -> None:
        connection, received = self._clients[fd]
        try:
            chunk = connection.recv(_READ_BYTES)
            received += chunk
            while b"\n" in received:
                line, _, rest = received.partition(b"\n")
                received[:] = rest
                connection.sendall(self._console.answer(bytes(line), time.monotonic_ns()))
        except OSError:
            # A client that goes away or does not listen concerns nobody else.
            chunk = b""
        if not chunk:
            self._poll.unregister(fd)
            connection.close()
            del self._clients[fd]


def _replace_link(link: Path, target: str) -> None:
    temporary = link.with_name(f"{link.name}.{os.getpid()}")
    temporary.symlink_to(target)
    temporary.replace(link)

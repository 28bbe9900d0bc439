"""Links between a process and the one that started it: small messages and file descriptors over a socket pair.

Every process of onbeat is started by `spawn`, as a fresh interpreter that is told nothing but the number of its link;
everything else comes as the link's first message. A link is never how a death is noticed: that is what pidfds are for.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from transport.errors import CodecError

_MAX_BYTES = 1 << 20
_MAX_FDS = 8
_PR_SET_PDEATHSIG = 1
# Paths need not be UTF-8; Python has what they are then in surrogates.
_FILE_NAMES = "surrogatepass"


class Link:
    """One end. Messages are maps with text keys; a message arrives whole or not at all."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _MAX_BYTES)

    @classmethod
    def pair(cls) -> tuple[Link, Link]:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(left), cls(right)

    @classmethod
    def from_fd(cls, fd: int) -> Link:
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> bool:
        """Send, waiting at most for room in the socket; False when the other end is gone.

        Raises:
            CodecError: it is larger than the system lets through in one piece.
        """
        return self._send(message, lambda data: socket.send_fds(self._socket, [data], fds))

    def offer(self, message: Mapping[str, Any]) -> bool:
        """Send if that takes no waiting; False when it would, or when the other end is gone.

        Raises:
            CodecError: as `send`.
        """
        return self._send(message, lambda data: self._socket.send(data, socket.MSG_DONTWAIT))

    def _send(self, message: Mapping[str, Any], send: Callable[[bytes], object]) -> bool:
        data = msgpack.packb(message, unicode_errors=_FILE_NAMES)
        try:
            if len(data) > _MAX_BYTES:
                raise OSError(errno.EMSGSIZE, "")
            send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            limit = min(_MAX_BYTES, self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
            raise CodecError(
                f"a message of {len(data)} bytes found, expected at most {limit}; raise net.core.wmem_max"
            ) from error
        return True

    def receive(self, timeout_s: float | None = None) -> tuple[dict[str, Any], list[int]] | None:
        """The next message with its file descriptors; None when the other end is gone.

        Raises:
            TimeoutError: nothing came within `timeout_s`.
            CodecError: what came is not a map, or not all of it.
        """
        self._socket.settimeout(timeout_s)
        try:
            data, fds, flags, _ = socket.recv_fds(self._socket, _MAX_BYTES, _MAX_FDS)
        except ConnectionResetError:
            return None
        finally:
            self._socket.settimeout(None)
        if not data:
            return None
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ValueError("truncated")
            message = msgpack.unpackb(data, unicode_errors=_FILE_NAMES)
            if not isinstance(message, dict):
                raise ValueError(type(message).__name__)
        except ValueError as error:
            for fd in fds:
                os.close(fd)
            raise CodecError(f"a link carries whole maps, {len(data)} bytes of something else found") from error
        return message, fds

    def close(self) -> None:
        self._socket.close()


def read_only(fd: int) -> int:
    """Another file descriptor of the same memory, for a process that only looks; close it after use."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def spawn(
    module: str,
    config: Mapping[str, Any],
    fds: Sequence[int] = (),
    *,
    die_with_parent: int | None = None,
    niceness: int = 0,
) -> tuple[subprocess.Popen[bytes], Link]:
    """Start `python -m module` with a link whose first message is `config` with `fds`.

    The child is a fresh interpreter (no `__main__` of the caller is run again), in a process group of its own (a
    Ctrl-C in the terminal reaches only the one that the user started), and does not find modules in the current folder
    before the installed ones.

    Args:
        die_with_parent: a signal that the kernel sends the child when the calling thread ends; use the main thread.
        niceness: added to the child's.
    """
    ours, theirs = Link.pair()

    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    theirs.close()
    start = {"parent_pid": os.getpid(), "death_signal": die_with_parent, "niceness": niceness}
    ours.send({**config, "start": start}, fds)
    return process, ours


def child_link() -> tuple[Link, dict[str, Any], list[int]]:
    """In a process that `spawn` started: the link, the configuration and the file descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = Link.from_fd(int(sys.argv[1]))
    first = link.receive(timeout_s=30)
    if first is None:
        raise SystemExit("the starting process ended before it said what to do")
    config, fds = first
    start = config.pop("start")
    if start["death_signal"] is not None:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, start["death_signal"])
        if os.getppid() != start["parent_pid"]:  # it died before the line above
            raise SystemExit("the starting process ended while this one began")
    os.nice(start["niceness"])
    return link, config, fds

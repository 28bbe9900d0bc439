"""Processes that tests/transport/test_link.py starts, each by the name in its first message."""

from __future__ import annotations

import os
import signal
import sys

from transport.link import Link, child_link, spawn


def main() -> int:
    link, config, fds = child_link()
    match config.pop("do"):
        case "tell":
            import control

            link.send(
                {
                    "config": config,
                    "files": [os.read(fd, 100).decode() for fd in fds],
                    "inheritable": [os.get_inheritable(fd) for fd in fds],
                    "parent": os.getppid(),
                    "group": os.getpgrp() == os.getpid(),
                    "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
                    "stdin": os.read(0, 1).decode(),
                    "control": str(control.__file__),
                    "path": sys.path[0],
                    "nice": os.nice(0),
                    "link_fds": sorted(_sockets()),
                }
            )
        case "wait":
            link.send({"ready": os.getpid()})
            link.receive()
            signal.pause()
        case "start a child and die":
            process, grandchild = spawn("link_child", {"do": "wait"}, die_with_parent=signal.SIGTERM)
            link.send({"ready": _first(grandchild)["ready"], "pid": process.pid})
            link.receive()
            os.kill(os.getpid(), signal.SIGKILL)
        case "echo":
            while (received := link.receive()) is not None:
                link.send(*received)
    return 7


def _first(link: Link) -> dict[str, object]:
    received = link.receive(timeout_s=30)
    assert received is not None
    return received[0]


def _sockets() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(int(name))
        except FileNotFoundError:  # the listing's own
            continue
    return found


if __name__ == "__main__":
    raise SystemExit(main())

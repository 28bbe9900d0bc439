"""The process behind `--display_data`: shows the newest frames with lerobot's own visualisation helpers.

It looks at the log ring, never waits for the loop and is never waited for; a viewer that takes its time costs frames on
the screen, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lerobot.utils.visualization_utils import init_visualization, log_visualization_data, shutdown_visualization

from control.preview_frame import NewestFrame
from transport.link import Link, child_link
from transport.schema import Schema

# What a viewer has not taken waits in this process; so much of it means that the viewer takes nothing.
_MAX_GROWTH_BYTES = 1_500_000_000


def main() -> int:
    """Entry of the process; its link's first message has `schema`, `fps`, `mode`, `ip`, `port` and `compress`."""
    link, first, (ring_fd,) = child_link()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.set_inheritable(link.fileno(), False)
    try:
        return _show(link, NewestFrame(ring_fd, Schema.from_wire(first["schema"])), first)
    except Exception as error:  # noqa: BLE001 - whatever a viewer does not like, the recording goes on without it
        link.send({"failed": " ".join(f"{type(error).__name__}: {error}".split())})
        return 1


def _show(link: Link, newest: NewestFrame, first: Mapping[str, Any]) -> int:
    mode, period_s = first["mode"], 1 / first["fps"]
    with _no_output_to_inherit():
        init_visualization(mode, session_name="recording", ip=first["ip"], port=first["port"])
    link.send({"shows": mode})
    limit_bytes = _resident_bytes() + _MAX_GROWTH_BYTES
    next_s = time.monotonic()
    while not select.select([link.fileno()], [], [], max(next_s - time.monotonic(), 0))[0]:
        next_s = time.monotonic() + period_s / 2
        frame = newest.take()
        if frame is None:
            continue
        log_visualization_data(mode, frame.observation, frame.action, compress_images=first["compress"])
        if _resident_bytes() > limit_bytes:
            raise MemoryError("the viewer does not take what it is sent")
    shutdown_visualization(mode)
    return 0


@contextlib.contextmanager
def _no_output_to_inherit() -> Iterator[None]:
    """A viewer that is started here outlives the session; whoever reads the recorder's output would wait for it too."""
    kept = {fd: os.dup(fd) for fd in (1, 2)}
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for fd in kept:
            os.dup2(nothing, fd)
        yield
    finally:
        for fd, copy in kept.items():
            os.dup2(copy, fd)
            os.close(copy)
        os.close(nothing)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    raise SystemExit(main())

"""What it costs the loop to publish a frame, against the copy alone: `make bench-publish` or
`python scripts/bench_publish.py [--cameras=4] [--width=640] [--height=480] [--seconds=1] [--repeats=7]`.

For each form in which sources deliver pictures (uint8 HWC, uint8 CHW, float32 CHW), two ways to move the same bytes:

    publish   what control/loop.py does: a draft in the next slot of a log ring, every picture copied into it, the
              account of the tick's time, the loop's numbers into the row, append, wake the publisher, tell the board
    copy      numpy.copyto of the same pictures into memory of the ring's size, allocated and touched before

Sources and destinations rotate through more memory than the caches hold. Blocks of both alternate; the median block of
each counts. The target is a ratio of at most 2.0; exit code 1 above it.

Bias: nobody reads the ring meanwhile, so a busy machine's contention for memory is missing from both.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray

from control.account import TimeAccount
from control.board import Board
from control.clock import SystemClock
from control.pacer import Tick
from control.source import Draft, Outcome
from transport.records import EpisodeBegan
from transport.ring import LogRing
from transport.schema import CHW, HWC, Kind, LoopFlag, Schema, Stream

_FPS = 60
_RING_S = 2.0
_EPISODE = 0
_BLOCK_S = 0.05
_CACHES_BYTES = 64 << 20
_TARGET = 2.0

_FORMS = (("uint8 HWC", "uint8", HWC), ("uint8 CHW", "uint8", CHW), ("float32 CHW", "float32", CHW))

Pictures = list[NDArray[np.generic]]


def schema_of(cameras: int, width: int, height: int, dtype: str, layout: tuple[str, ...]) -> Schema:
    """A source with six joints and `cameras` cameras."""
    shape = (height, width, 3) if layout == HWC else (3, height, width)
    return Schema(
        (
            Stream("observation.state", "float32", (6,)),
            *(Stream(f"observation.images.cam{i}", dtype, shape, Kind.VIDEO, layout) for i in range(cameras)),
            Stream("action", "float32", (6,)),
        )
    )


class Publish:
    """The loop's part of a frame, call by call as in `SessionLoop._record`."""

    def __init__(self, schema: Schema, sources: list[Pictures]) -> None:
        self._ring = LogRing.create(schema, seconds=_RING_S, fps=_FPS)
        self._board = Board.create()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._account = TimeAccount(self._ring, SystemClock(), _FPS)
        self._ring.append_event(EpisodeBegan(_EPISODE, "bench"))
        self._sources = sources
        self._state = np.arange(6, dtype=np.float32)
        self._frame = 0

    @property
    def nbytes(self) -> int:
        return self._ring.nbytes

    def frame(self) -> None:
        slot = self._ring.next_slot()
        if slot is None:
            raise RuntimeError("the ring is full although every frame is freed")
        draft = Draft(slot.row, slot.pictures)
        for to, picture in zip(draft.pictures, self._sources[self._frame % len(self._sources)], strict=True):
            np.copyto(to, picture)
        row = draft.row
        row["observation.state"] = self._state
        row["action"] = self._state
        tick = Tick(self._frame, self._frame, self._frame, 0)
        self._account.started(tick)
        outcome = Outcome(tick.started_ns)
        self._account.acted(outcome)
        self._account.fill(slot, outcome, LoopFlag.PACED)
        self._ring.append_frame(_EPISODE, self._frame)
        os.eventfd_write(self._wake_fd, 1)
        self._board.record_tick(tick, self._frame + 1)
        self._account.asked()
        self._frame += 1

    def between_blocks(self) -> None:
        """What the publisher would do: take the frames away."""
        self._ring.free_to(self._ring.head_seq + 1)
        os.eventfd_read(self._wake_fd)


class Copy:
    """The same bytes into touched memory of the ring's size, and nothing else."""

    def __init__(self, nbytes: int, sources: list[Pictures]) -> None:
        memory = np.frombuffer(mmap.mmap(-1, nbytes), np.uint8)
        memory[::4096] = 0
        self._sources = sources
        frame_bytes = sum(picture.nbytes for picture in sources[0])
        self._targets: list[Pictures] = []
        for start in range(0, nbytes - frame_bytes, frame_bytes):
            targets: Pictures = []
            for picture in sources[0]:
                targets.append(memory[start : start + picture.nbytes].view(picture.dtype).reshape(picture.shape))
                start += picture.nbytes
            self._targets.append(targets)
        self._frame = 0

    def frame(self) -> None:
        targets = self._targets[self._frame % len(self._targets)]
        for to, picture in zip(targets, self._sources[self._frame % len(self._sources)], strict=True):
            np.copyto(to, picture)
        self._frame += 1

    def between_blocks(self) -> None:
        """Nothing is held."""


def rotating_sources(schema: Schema) -> list[Pictures]:
    """Pictures as a source delivers them, more than the caches hold."""
    frame_bytes = sum(stream.nbytes for stream in schema.pictures)
    random = np.random.default_rng(0)
    count = max(2, -(-_CACHES_BYTES // frame_bytes))
    return [[_picture(stream, random) for stream in schema.pictures] for _ in range(count)]


def _picture(stream: Stream, random: np.random.Generator) -> NDArray[np.generic]:
    if stream.dtype == "uint8":
        return random.integers(0, 256, stream.shape, np.uint8)
    return random.random(stream.shape, np.float32)


def block_us(way: Publish | Copy, frames: int, clock: Callable[[], int] = time.perf_counter_ns) -> float:
    """Microseconds a frame, over one block."""
    began = clock()
    for _ in range(frames):
        way.frame()
    took_us = (clock() - began) / 1e3 / frames
    way.between_blocks()
    return took_us


def measure(schema: Schema, seconds: float, repeats: int) -> tuple[float, float]:
    """Median microseconds a frame: (publish, copy)."""
    sources = rotating_sources(schema)
    publish = Publish(schema, sources)
    copy = Copy(publish.nbytes, sources)
    frames = max(1, min(int(_BLOCK_S * 1e6 / block_us(copy, 4)), int(_RING_S * _FPS) - 1))
    block_us(publish, frames)
    found: dict[str, list[float]] = {"publish": [], "copy": []}
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s or len(found["copy"]) < repeats:
        found["publish"].append(block_us(publish, frames))
        found["copy"].append(block_us(copy, frames))
    return median(found["publish"]), median(found["copy"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    for name, default in (("cameras", 4), ("width", 640), ("height", 480), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring each form")
    given = parser.parse_args()
    gc.freeze()
    gc.disable()
    print(f"the loop's part of publishing a frame of {given.cameras} x {given.width}x{given.height}, medians")
    print(f"{'pictures':<14}{'MB':>7}{'publish µs':>13}{'copy µs':>11}{'ratio':>8}   target: at most {_TARGET}")
    worst = 0.0
    for name, dtype, layout in _FORMS:
        schema = schema_of(given.cameras, given.width, given.height, dtype, layout)
        publish_us, copy_us = measure(schema, given.seconds, given.repeats)
        ratio = publish_us / copy_us
        worst = max(worst, ratio)
        megabytes = sum(stream.nbytes for stream in schema.pictures) / 1e6
        print(f"{name:<14}{megabytes:>7.1f}{publish_us:>13.0f}{copy_us:>11.0f}{ratio:>8.2f}")
    return 0 if worst <= _TARGET else 1


if __name__ == "__main__":
    sys.exit(main())

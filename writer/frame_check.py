"""How many published pictures a recorded dataset really holds, counted by decoding; a process of its own.

A picture counts where it carries the right number: number k of a session is the k-th frame published. Who reads
numbers from pictures is named by the starting process (`module:function`), because the two sides never import each
other. Without a reader, frames that decode at their times are counted.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from transport.errors import OnbeatError
from transport.link import child_link
from writer.dataset_files import DatasetFiles
from writer.verify import verify

ReadFrameNumber = Callable[[NDArray[np.uint8]], tuple[int, int] | None]

# Their first plane is the picture in 8-bit grey, which is all that a number in black and white needs.
_GREY_FIRST = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p")


def numbers_in(path: Path, camera_index: int, read: ReadFrameNumber) -> NDArray[np.int64]:
    """The numbers of all pictures of a video in presentation order; -1 where there is none, or another camera's."""
    numbers = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            found = read(_picture(frame))
            numbers.append(found[0] if found is not None and found[1] == camera_index else -1)
    return np.array(numbers, np.int64)


def good_pictures(root: Path, frames: int, read: ReadFrameNumber) -> dict[str, int]:
    """For each camera, how many of the numbers 0..frames - 1 its videos show, in their order.

    Raises:
        UsageError: `root` is not a LeRobotDataset v3.
        av.FFmpegError, OSError: a video cannot be read.
    """
    files = DatasetFiles(root)
    rows, _ = files.episodes()
    work = []
    for index, camera in enumerate(files.cameras):
        paths = dict.fromkeys(files.video_path(row, camera) for row in rows)
        work += [(camera, index, path) for path in paths]
    found: dict[str, list[NDArray[np.int64]]] = {camera: [] for camera in files.cameras}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = pool.map(lambda item: numbers_in(item[2], item[1], read), work)
        for (camera, _, _), numbers in zip(work, results, strict=True):
            found[camera].append(numbers)
    return {camera: _in_order(parts, frames) for camera, parts in found.items()}


def _in_order(parts: list[NDArray[np.int64]], frames: int) -> int:
    """Numbers below `frames` that are greater than all before them: a repeated or misplaced picture is no other's."""
    numbers = np.concatenate([np.array([-1], np.int64), *parts])
    newest_before = np.maximum.accumulate(numbers)[:-1]
    return int(np.count_nonzero((numbers[1:] > newest_before) & (numbers[1:] < frames)))


def _picture(frame: av.VideoFrame) -> NDArray[np.uint8]:
    if frame.format.name not in _GREY_FIRST:
        colours: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        return colours
    plane = frame.planes[0]
    grey = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width, None]
    return np.broadcast_to(grey, (frame.height, frame.width, 3))


def main() -> int:
    """Entry of the process; its link's first message has `root`, `frames` and `reader` (None: count by times)."""
    link, config, _ = child_link()
    root = Path(config["root"])
    try:
        if config["reader"] is None:
            good: dict[str, Any] = {}
            for episode in verify(root).episodes:
                for camera, decoded in episode.decoded.items():
                    good[camera] = good.get(camera, 0) + decoded
        else:
            module, _, name = config["reader"].partition(":")
            good = good_pictures(root, config["frames"], getattr(importlib.import_module(module), name))
    except (OnbeatError, OSError, av.FFmpegError) as error:
        link.send({"failed": str(error)})
        return 1
    link.send({"good_pictures": good})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

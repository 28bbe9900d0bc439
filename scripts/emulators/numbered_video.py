"""A video whose pictures carry their numbers, to be played by a `testfile` camera.

    python -m scripts.emulators.numbered_video front.mp4 --camera=0 --pictures=300 --fps=30 --width=640 --height=480

`control.envs.frame_code.read` tells from a picture, encoded again or not, which one it is and of which camera.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from control.envs import frame_code

# Above the quality at which the pictures are recorded again.
_OPTIONS = {"crf": "18", "preset": "veryfast"}


def write_numbered_video(path: Path, *, pictures: int, fps: int, width: int, height: int, camera: int = 0) -> None:
    """Write `pictures` pictures as H.264: a texture that moves, and each picture's number from 0 in its corner.

    Raises:
        ValueError: smaller than frame_code's least size, or an odd one, which H.264 in 4:2:0 cannot hold.
    """
    if width % 2 or height % 2:
        raise ValueError(f"a size of {width}x{height} found, expected even numbers")
    x, y, diagonal = (np.arange(length, dtype=np.float32) for length in (width, height, width + height - 1))
    picture = np.empty((height, width, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(pictures):
            phase = 0.1 * number + camera
            picture[..., 0] = _shade(np.sin(x / 31 + phase))
            picture[..., 1] = sliding_window_view(_shade(np.sin(diagonal / 43 - phase)), width)
            picture[..., 2] = _shade(np.cos(y / 27 + camera))[:, None]
            frame_code.draw(picture, number, camera)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _shade(wave: NDArray[np.float32]) -> NDArray[np.uint8]:
    """From -1..1 to grey values."""
    return (128 + 90 * wave).astype(np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the program."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.emulators.numbered_video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, help="file to write, MP4")
    for name, default in (("pictures", 300), ("fps", 30), ("width", 640), ("height", 480), ("camera", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    write_numbered_video(**vars(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

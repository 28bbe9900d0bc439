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
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(pictures):
            phase = 0.1 * number + camera
            channels = (np.sin(x / 31 + phase), np.sin((x + y) / 43 - phase), np.cos(y / 27 + camera))
            picture = (128 + 90 * np.stack(channels, axis=-1)).astype(np.uint8)
            frame_code.draw(picture, number, camera)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


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

"""What the encoding alone costs: `python -m scripts.bench_kit.bare_encoding JSON` prints milliseconds a picture.

The pictures of a load, numbered as a recording numbers them, one PyAV encoder a camera with the options that onbeat
gives it; PyAV converts the colours. No files, no transport, no threads but the codec's own.
"""

from __future__ import annotations

import json
import sys
import time
from fractions import Fraction

import av

from control.envs import frame_code
from control.load_pictures import PICTURES, forth_and_back, render
from transport.dataset_spec import EncoderSpec
from writer.codecs import open_encoder, resolve


def milliseconds_a_picture(
    cameras: int, width: int, height: int, fps: int, encoder: dict[str, str | int], frames: int
) -> float:
    """Processor time of all threads, over `frames` frames of every camera; drawing numbers (15 µs each) included."""
    codec = resolve(EncoderSpec(**encoder))  # type: ignore[arg-type] # vcodec and preset, each of its own type
    pictures = [render(width, height, camera) for camera in range(cameras)]
    encoders = [open_encoder(codec, width, height, fps) for _ in range(cameras)]
    began_s = time.process_time()
    for number in range(frames):
        for camera, (context, rendered) in enumerate(zip(encoders, pictures, strict=True)):
            picture = rendered[forth_and_back(number, PICTURES)]
            frame_code.draw(picture, number, camera)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            context.encode(frame)
    for context in encoders:
        context.encode(None)
    return (time.process_time() - began_s) * 1e3 / (frames * cameras)


def main() -> int:
    config = json.loads(sys.argv[1])
    load = config["load"]
    size = load["cameras"], load["width"], load["height"], load["fps"]
    print(milliseconds_a_picture(*size, load["encoder"], config["frames"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""RGB pictures into the planes that encoders take, with the colours that LeRobot's own path (swscale) gives.

For even sizes and yuv420p, OpenCV makes the luma and the chroma of the picture halved by area averaging. Milliseconds
a picture, and decibels against swscale's default after the way back to RGB (640x480, one thread):

| way                                  | 640x480 | 1280x720 | noise | stripes      | gradient |
|--------------------------------------|---------|----------|-------|--------------|----------|
| swscale, as PyAV calls it            | 0.72    | 2.6      | 0     | 0            | 0        |
| swscale, point-sampled               | 0.46    | 1.5      | -0.9  | -2.1         | +0.1     |
| OpenCV RGB2YUV_I420, point-sampled   | 0.12    | 0.32     | -2.3  | -2.0         | +0.3     |
| OpenCV luma, float matrix on averages| 0.63    | 1.6      | +0.2  | -0.01..+0.5  | +0.1     |
| OpenCV luma, YCrCb of averages (used)| 0.27    | 0.96     | +0.2  | -0.01..+0.5  | -0.3     |
"""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

# Cameras have a thread each already; OpenCV's own threads cost three times the CPU here and save no time.
cv2.setNumThreads(1)

# OpenCV's YCrCb has full-range chroma, encoders take ITU-R BT.601's limited range: 224 of 255 steps around 128.
_CHROMA_SCALE = 224 / 255
# The tenth makes up for rounding twice (to 8 bits after averaging, again after scaling).
_CHROMA_OFFSET = 128 * (1 - _CHROMA_SCALE) + 0.1


class Converter:
    """Turns pictures of one size into frames of one pixel format. Not for use by two threads at once."""

    def __init__(self, width: int, height: int, pix_fmt: str) -> None:
        self._width, self._height, self._pix_fmt = width, height, pix_fmt
        self._reformatter = VideoReformatter()
        self._fast = pix_fmt == "yuv420p" and width % 2 == 0 and height % 2 == 0
        if not self._fast:
            # At an odd width swscale makes the last chroma column with a pixel from beyond the row.
            self._wide = np.empty((height, width + 1, 3), np.uint8) if width % 2 else None
            return
        half_height, half_width = height // 2, width // 2
        self._planes = np.empty((height + half_height, width), np.uint8)
        chroma = self._planes.reshape(-1)[height * width :].reshape(2, half_height, half_width)
        self._u, self._v = chroma[0], chroma[1]
        self._half = np.empty((half_height, half_width, 3), np.uint8)

    def __call__(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        """Convert one picture.

        Args:
            picture: shape (height, width, 3), dtype uint8, RGB, C-contiguous.

        Returns:
            A frame whose memory the next call may overwrite: hand it to the encoder, which copies it, before that.

        Raises:
            ValueError: another shape, dtype or layout.
        """
        if picture.shape != (self._height, self._width, 3) or picture.dtype != np.uint8:
            raise ValueError(
                f"picture {picture.shape} {picture.dtype} found, expected ({self._height}, {self._width}, 3) uint8"
            )
        if not picture.flags.c_contiguous:
            raise ValueError("a picture's rows follow each other in memory; copy it first")
        if not self._fast:
            return self._by_swscale(picture)
        cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420, dst=self._planes)
        cv2.resize(picture, (self._width // 2, self._height // 2), dst=self._half, interpolation=cv2.INTER_AREA)
        cv2.cvtColor(self._half, cv2.COLOR_RGB2YCrCb, dst=self._half)
        cv2.convertScaleAbs(self._half, dst=self._half, alpha=_CHROMA_SCALE, beta=_CHROMA_OFFSET)
        cv2.extractChannel(self._half, 2, dst=self._u)
        cv2.extractChannel(self._half, 1, dst=self._v)
        return self._frame()

    def _by_swscale(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        if self._wide is not None:
            self._wide[:, : self._width] = picture
            self._wide[:, self._width] = picture[:, -1]
            picture = self._wide
        frame = av.VideoFrame.from_numpy_buffer(picture, "rgb24", self._width)
        return self._reformatter.reformat(frame, format=self._pix_fmt)

    def _frame(self) -> av.VideoFrame:
        if self._height % 4 == 0:
            return av.VideoFrame.from_numpy_buffer(self._planes, "yuv420p")
        # PyAV derives a wrong height from the buffer when the picture's is not a multiple of four.
        frame = av.VideoFrame(self._width, self._height, "yuv420p")
        for plane, source in zip(frame.planes, (self._planes[: self._height], self._u, self._v), strict=True):
            target = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            target[:, : plane.width] = source
        return frame

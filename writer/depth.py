"""Depth maps into 12 bits, as lerobot's `quantize_depth` does (lerobot 0.6, lerobot/datasets/depth_utils.py)."""

from __future__ import annotations

import math

import av
import numpy as np
from numpy.typing import NDArray

from transport.dataset_spec import DepthEncoderSpec

_GREATEST = 4095
_MM_PER_METRE = 1000.0

DepthMap = NDArray[np.uint16] | NDArray[np.float32]


def quantize(depth: DepthMap, spec: DepthEncoderSpec) -> NDArray[np.uint16]:
    """Codes from 0 to 4095.

    Args:
        depth: millimetres as uint16 or metres as float32, of any shape.
    """
    unit = np.float32(1.0 if depth.dtype.kind == "f" else _MM_PER_METRE)
    low, high, shift = (np.float32(value * float(unit)) for value in (spec.depth_min, spec.depth_max, spec.shift))
    values = depth.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        if spec.use_log:
            log_low, log_high = math.log(float(low + shift)), math.log(float(high + shift))
            part = (np.log(values + shift) - log_low) / (log_high - log_low)
        else:
            part = (values - low) / (high - low)
        codes = np.nan_to_num(np.rint(part * _GREATEST), nan=0.0)
    quantized: NDArray[np.uint16] = codes.clip(0, _GREATEST).astype(np.uint16)
    return quantized


class DepthConverter:
    """Turns depth maps of one size into frames. Not for use by two threads at once."""

    def __init__(self, width: int, height: int, spec: DepthEncoderSpec) -> None:
        self._width, self._height, self._spec = width, height, spec
        # Every depth in millimetres that there can be.
        self._codes = quantize(np.arange(1 << 16, dtype=np.uint16), spec)

    def __call__(self, depth: DepthMap) -> av.VideoFrame:
        """Convert one depth map of shape (height, width, 1).

        Raises:
            ValueError: another shape.
        """
        if depth.shape != (self._height, self._width, 1):
            raise ValueError(f"a depth map {depth.shape} found, expected ({self._height}, {self._width}, 1)")
        flat = depth[..., 0]
        codes = self._codes[flat] if flat.dtype == np.uint16 else quantize(flat, self._spec)
        frame = av.VideoFrame(self._width, self._height, DepthEncoderSpec.pix_fmt)
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint16).reshape(self._height, plane.line_size // 2)
        rows[:, : self._width] = codes
        return frame

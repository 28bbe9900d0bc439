"""Filling convex shapes and writing digits into a picture, fast enough for a control loop without a drawing library.

A shape is filled row by row with slices of a prepared row of its colour: one memory copy a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Point = tuple[float, float]
Shape = tuple[Sequence[Point], Colour]

_FONT = (
    ("01110", "10001", "10011", "10101", "11001", "10001", "01110"),
    ("00100", "01100", "00100", "00100", "00100", "00100", "01110"),
    ("01110", "10001", "00001", "00110", "01000", "10000", "11111"),
    ("11111", "00010", "00100", "00010", "00001", "10001", "01110"),
    ("00010", "00110", "01010", "10010", "11111", "00010", "00010"),
    ("11111", "10000", "11110", "00001", "00001", "10001", "01110"),
    ("00110", "01000", "10000", "11110", "10001", "10001", "01110"),
    ("11111", "10001", "00010", "00100", "00100", "00100", "00100"),
    ("01110", "10001", "10001", "01110", "10001", "10001", "01110"),
    ("01110", "10001", "10001", "01111", "00001", "00010", "01100"),
)
_INK: Colour = (245, 245, 240)
_PLATE: Colour = (52, 58, 66)


class Canvas:
    """Draws into pictures of one size; holds what is prepared per colour and per digit.

    Args:
        width, height: of the pictures, in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._lines: dict[Colour, bytes] = {}
        # Eight digits fit in any width that the frame code fits in.
        scale = max(1, min(height // 120, width // 50))
        self._glyphs = [_glyph(rows, scale) for rows in _FONT]
        self._margin = scale

    def fill(self, pixels: memoryview, shapes: Sequence[Shape]) -> None:
        """Fill convex polygons, later ones over earlier ones; a pixel is inside when its centre is.

        Args:
            pixels: the whole picture's bytes, (height, width, 3) row by row.
            shapes: their corners (x, y) in pixels, in either direction around, and colours. What lies outside of the
                picture is left out.
        """
        corners = np.array([corner for shape, _ in shapes for corner in shape])
        counts = np.array([len(shape) for shape, _ in shapes])
        first = counts.cumsum() - counts
        following = np.arange(1, len(corners) + 1)
        following[first + counts - 1] = first
        x, y = corners[:, 0], corners[:, 1]
        # The first row whose centre lies below the corner.
        row = np.clip(np.ceil(y - 0.5), 0, self.height).astype(np.intp)
        top = np.minimum.reduceat(row, first)
        heights = np.maximum.reduceat(row, first) - top
        # Every row of every shape has a slot; one edge that goes down and one that goes up pass through each.
        last_slot = heights.cumsum()
        row_to_slot = last_slot - heights - top
        down = np.flatnonzero(row[following] > row)
        up = np.flatnonzero(row[following] < row)
        edges = np.concatenate([down, up])
        ends = following[edges]
        lengths = np.abs(row[ends] - row[edges])
        skipped = lengths.cumsum() - lengths
        edge_row = np.minimum(row[edges], row[ends])
        rows = np.arange(lengths.sum()) + np.repeat(edge_row - skipped, lengths)
        slope = (x[ends] - x[edges]) / (y[ends] - y[edges])
        crossing = np.repeat(x[edges] - (y[edges] - 0.5) * slope, lengths) + rows * np.repeat(slope, lengths)
        column = np.clip(crossing + 0.5, 0, self.width).astype(np.intp)
        owner = np.repeat(np.arange(len(shapes)), counts)[edges]
        slot = rows + np.repeat(row_to_slot[owner], lengths)
        byte = (rows * self.width + column) * 3
        slots = int(last_slot[-1])
        left, right = np.empty(slots, np.intp), np.empty(slots, np.intp)
        left[slot[:slots]] = byte[:slots]
        right[slot[slots:]] = byte[slots:]
        starts, stops = np.minimum(left, right).tolist(), np.maximum(left, right).tolist()
        begin = 0
        for end, (_, colour) in zip(last_slot.tolist(), shapes, strict=True):
            line = self._line(colour)
            for start, stop in zip(starts[begin:end], stops[begin:end], strict=True):
                pixels[start:stop] = line[: stop - start]
            begin = end

    def write_number(self, picture: NDArray[np.uint8], number: int) -> None:
        """Write `number` with at least six digits into the lower left corner."""
        x, bottom = self._margin, self.height - self._margin
        for digit in f"{number:06d}":
            glyph = self._glyphs[int(digit)]
            height, width, _ = glyph.shape
            picture[bottom - height : bottom, x : x + width] = glyph
            x += width

    def _line(self, colour: Colour) -> bytes:
        line = self._lines.get(colour)
        if line is None:
            line = self._lines[colour] = bytes(colour) * self.width
        return line


def _glyph(rows: Sequence[str], scale: int) -> NDArray[np.uint8]:
    """One digit on its plate, uint8 of shape (9, 6, 3) times `scale`."""
    ink = np.pad(np.array([[c == "1" for c in row] for row in rows]), ((1, 1), (0, 1)))
    glyph = np.where(ink[..., None], np.array(_INK, np.uint8), np.array(_PLATE, np.uint8))
    return np.ascontiguousarray(glyph.repeat(scale, axis=0).repeat(scale, axis=1))

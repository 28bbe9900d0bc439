"""A frame number in the pixels, to be read back from decoded video.

A block of 16 x 3 black and white cells in the upper left corner holds, row by row and most significant bit first:

    24 bits  frame number
     8 bits  camera index
    16 bits  checksum: the low half of the CRC-32 of the four bytes before, xor 0x5A5A (else all-white would be valid)

Cells are at least four pixels wide, so chroma subsampling and the quantisation of crf 30 leave their middle readable.
Position and size follow from the size of the picture alone.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

MIN_WIDTH = 64
MIN_HEIGHT = 48
MAX_FRAME_NUMBER = (1 << 24) - 1
MAX_CAMERA_INDEX = (1 << 8) - 1

_COLUMNS = 16
_ROWS = 3
_CHECKSUM_MASK = 0x5A5A
# Off the ends of the range: what an encoder overshoots is not clipped.
_BLACK = 16
_WHITE = 240
_THRESHOLD = 128


def cell_pixels(width: int, height: int) -> int:
    """The side of one cell in a picture of this size: even, at least 4."""
    return max(4, min(width // MIN_WIDTH, height // MIN_HEIGHT) // 2 * 2)


def draw(picture: NDArray[np.uint8], frame_number: int, camera_index: int) -> None:
    """Draw the code into `picture`, uint8 of shape (height, width, 3), in place.

    Raises:
        ValueError: the picture is of another form or smaller than 64x48, or a number does not fit.
    """
    cell = _checked_cell(picture)
    if not 0 <= frame_number <= MAX_FRAME_NUMBER:
        raise ValueError(f"frame number {frame_number} found, expected 0 to {MAX_FRAME_NUMBER}")
    if not 0 <= camera_index <= MAX_CAMERA_INDEX:
        raise ValueError(f"camera index {camera_index} found, expected 0 to {MAX_CAMERA_INDEX}")
    payload = (frame_number << 8 | camera_index).to_bytes(4, "big")
    code = np.frombuffer(payload + _checksum(payload), np.uint8)
    levels = np.unpackbits(code).reshape(_ROWS, _COLUMNS) * np.uint8(_WHITE - _BLACK) + np.uint8(_BLACK)
    block = levels.repeat(cell, axis=0).repeat(cell * 3, axis=1)
    picture[: _ROWS * cell, : _COLUMNS * cell] = block.reshape(_ROWS * cell, _COLUMNS * cell, 3)


def read(picture: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Read (frame number, camera index) from `picture`, uint8 of shape (height, width, 3); None if there is no code.

    Raises:
        ValueError: the picture is of another form or smaller than 64x48.
    """
    cell = _checked_cell(picture)
    block = picture[: _ROWS * cell, : _COLUMNS * cell].reshape(_ROWS, cell, _COLUMNS, cell, 3)
    # The outer quarter of a cell is where neighbours bleed in.
    inner = slice(cell // 4, cell - cell // 4)
    bits = block[:, inner, :, inner].mean(axis=(1, 3, 4)) > _THRESHOLD
    code = np.packbits(bits.reshape(-1)).tobytes()
    payload, checksum = code[:4], code[4:]
    if checksum != _checksum(payload):
        return None
    value = int.from_bytes(payload, "big")
    return value >> 8, value & 0xFF


def _checksum(payload: bytes) -> bytes:
    return (zlib.crc32(payload) & 0xFFFF ^ _CHECKSUM_MASK).to_bytes(2, "big")


def _checked_cell(picture: NDArray[np.uint8]) -> int:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture of {picture.dtype} {picture.shape} found, expected uint8 (height, width, 3)")
    height, width = picture.shape[:2]
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        raise ValueError(f"a picture of {width}x{height} found, expected at least {MIN_WIDTH}x{MIN_HEIGHT}")
    return cell_pixels(width, height)

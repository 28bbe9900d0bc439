import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.envs import frame_code

NUMBERS = st.integers(0, frame_code.MAX_FRAME_NUMBER)
CAMERAS = st.integers(0, frame_code.MAX_CAMERA_INDEX)
WIDTHS = st.integers(frame_code.MIN_WIDTH, 1000)
HEIGHTS = st.integers(frame_code.MIN_HEIGHT, 800)


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(NUMBERS, CAMERAS, WIDTHS, HEIGHTS)
def test_what_is_drawn_is_read(number, camera, width, height):
    picture = np.zeros((height, width, 3), np.uint8)
    frame_code.draw(picture, number, camera)
    assert frame_code.read(picture) == (number, camera)


@given(NUMBERS, CAMERAS, st.integers(0, 47))
def test_one_wrong_cell_is_noticed(number, camera, cell):
    picture = np.zeros((48, 64, 3), np.uint8)
    frame_code.draw(picture, number, camera)
    y, x = divmod(cell, 16)
    part = picture[4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
    part[:] = 255 - part
    assert frame_code.read(picture) is None


@pytest.mark.parametrize("level", [0, 127, 129, 255])
def test_a_flat_picture_has_no_code(level):
    assert frame_code.read(np.full((480, 640, 3), level, np.uint8)) is None


def test_only_the_code_is_drawn_over():
    picture = noise(640, 480)
    before = picture.copy()
    frame_code.draw(picture, 7, 1)
    cell = frame_code.cell_pixels(640, 480)
    assert cell == 10
    picture[: 3 * cell, : 16 * cell] = before[: 3 * cell, : 16 * cell]
    np.testing.assert_array_equal(picture, before)


def test_a_view_is_drawn_into():
    canvas = np.zeros((200, 300, 3), np.uint8)
    frame_code.draw(canvas[20:180, 30:270], 12, 3)
    assert frame_code.read(canvas[20:180, 30:270]) == (12, 3)


@pytest.mark.parametrize(
    ("picture", "number", "camera", "message"),
    [
        (np.zeros((47, 64, 3), np.uint8), 0, 0, "64x47 found, expected at least 64x48"),
        (np.zeros((48, 63, 3), np.uint8), 0, 0, "63x48 found, expected at least 64x48"),
        (np.zeros((48, 64), np.uint8), 0, 0, r"expected uint8 \(height, width, 3\)"),
        (np.zeros((48, 64, 3), np.float32), 0, 0, r"expected uint8 \(height, width, 3\)"),
        (np.zeros((48, 64, 3), np.uint8), -1, 0, "frame number -1 found"),
        (np.zeros((48, 64, 3), np.uint8), 1 << 24, 0, "frame number 16777216 found"),
        (np.zeros((48, 64, 3), np.uint8), 0, 256, "camera index 256 found"),
    ],
)
def test_what_cannot_be_drawn_is_refused(picture, number, camera, message):
    with pytest.raises(ValueError, match=message):
        frame_code.draw(picture, number, camera)

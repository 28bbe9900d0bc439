"""What is shown is what was recorded, byte for byte; and what was overwritten meanwhile is not shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from control.config import RecordConfig
from control.preview_frame import NewestFrame
from control.preview_settings import PreviewSettings, preview_settings
from transport.errors import UsageError
from transport.records import EndReason, EpisodeBegan, EpisodeEnded
from transport.ring import LogRing
from transport.schema import CHW, HWC, Kind, Schema, Stream
from transport.wire import to_wire

SCHEMA = Schema(
    (
        Stream("observation.state", "float32", (2,), names=("shoulder.pos", "gripper.pos")),
        Stream("observation.force", "float64", (3,)),
        Stream("observation.images.front", "uint8", (4, 6, 3), Kind.VIDEO, HWC),
        Stream("observation.images.side", "float32", (3, 4, 6), Kind.VIDEO, CHW),
        Stream("action", "float32", (2,), names=("shoulder.pos", "gripper.pos")),
        Stream("next.reward", "float32", (1,)),
    )
)


@pytest.fixture
def ring() -> LogRing:
    ring = LogRing.create(SCHEMA, seconds=1, fps=4)
    ring.append_event(EpisodeBegan(0, "task"))
    return ring


@pytest.fixture
def newest(ring: LogRing) -> Iterator[NewestFrame]:
    """Through a descriptor with which nothing could be written."""
    fd = os.open(f"/proc/self/fd/{ring.fd}", os.O_RDONLY)
    yield NewestFrame(fd, SCHEMA)
    os.close(fd)


def append(ring: LogRing, number: int) -> None:
    slot = ring.next_slot()
    assert slot is not None
    slot.row["observation.state"] = number, number + 0.5
    slot.row["observation.force"] = number, 1, 2
    slot.row["action"] = -number, 0
    slot.pictures[0][...] = number
    slot.pictures[1][...] = number / 255
    ring.append_frame(0, number)


def test_a_frame_as_lerobot_record_displays_it(ring: LogRing, newest: NewestFrame) -> None:
    assert newest.take() is None, "no frame yet"
    append(ring, 1)
    append(ring, 2)
    frame = newest.take()
    assert frame is not None
    assert set(frame.observation) == {"front", "side", "shoulder.pos", "gripper.pos", "observation.force"}
    assert (frame.observation["shoulder.pos"], frame.observation["gripper.pos"]) == (2.0, 2.5)
    assert frame.action == {"shoulder.pos": -2.0, "gripper.pos": 0.0}
    np.testing.assert_array_equal(frame.observation["observation.force"], [2, 1, 2])
    for camera in ("front", "side"):
        picture = frame.observation[camera]
        assert isinstance(picture, np.ndarray)
        assert (picture.shape, picture.dtype) == ((4, 6, 3), np.uint8)
        assert (picture == 2).all()
    assert newest.take() is None, "each is shown once"


def test_it_is_a_copy(ring: LogRing, newest: NewestFrame) -> None:
    append(ring, 1)
    frame = newest.take()
    ring.slot(ring.head_seq).pictures[0][...] = 99
    assert frame is not None
    assert (frame.observation["front"] == 1).all()


def test_events_are_not_shown(ring: LogRing, newest: NewestFrame) -> None:
    append(ring, 1)
    ring.append_event(EpisodeEnded(0, 1, EndReason.NEXT))
    assert newest.take() is None


@pytest.mark.parametrize("too_late", [True, False])
def test_a_frame_whose_slot_may_be_taken_again_meanwhile_is_left_out(
    ring: LogRing, newest: NewestFrame, monkeypatch: pytest.MonkeyPatch, too_late: bool
) -> None:
    append(ring, 1)
    # Fewer than that and the slot keeps the frame, though it is free.
    end = ring.head_seq + ring.recent - 1 - (not too_late)

    def copied_while_frames_come(stream: Stream, picture: NDArray[Any]) -> NDArray[Any]:
        copy = to_wire(stream, picture).copy()
        while ring.head_seq < end:
            ring.free_to(ring.head_seq + 1)
            append(ring, ring.head_seq + 1)
        return copy

    monkeypatch.setattr("control.preview_frame.to_wire", copied_while_frames_come)
    assert (newest.take() is None) == too_late


# -- flags -------------------------------------------------------------------------------------------------------------


def test_flags() -> None:
    assert preview_settings(RecordConfig()) is None
    config = RecordConfig(display_data=True, display_ip="192.0.2.1", display_port=9, display_compressed_images=True)
    assert preview_settings(config) == PreviewSettings("rerun", "192.0.2.1", 9, True)


def test_what_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--display_mode=tv found, expected one of rerun, foxglove"):
        preview_settings(RecordConfig(display_data=True, display_mode="tv"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "foxglove" else True)
    with pytest.raises(UsageError, match=r"needs the package foxglove, .*; pip install 'onbeat\[display\]'"):
        preview_settings(RecordConfig(display_data=True, display_mode="foxglove"))
    assert preview_settings(RecordConfig(display_data=True)) is not None

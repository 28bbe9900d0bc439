"""Which records are whole: never more than decodes, and in the end all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from writer.durability import Wholeness


def test_without_cameras_a_row_is_whole_at_once() -> None:
    whole = Wholeness([], durable_seq=4)
    whole.row(5, 0)
    assert whole.whole_seq == 5


def test_a_frame_waits_for_every_camera() -> None:
    whole = Wholeness(["front", "wrist"], durable_seq=0)
    whole.event(1)
    whole.row(2, 0)
    whole.packet("front", 0)
    assert whole.whole_seq == 1
    whole.packet("wrist", 0)
    assert whole.whole_seq == 2


def test_the_end_waits_for_held_back_frames() -> None:
    whole = Wholeness(["front"], durable_seq=0)
    whole.row(1, 0)
    whole.row(2, 1)
    whole.event(3)
    whole.packet("front", 0)
    assert whole.whole_seq == 1
    whole.packet("front", 1)
    assert whole.whole_seq == 3


def test_reordered_packets_count_when_nothing_before_is_missing() -> None:
    whole = Wholeness(["front"], durable_seq=0)
    for index in range(4):
        whole.row(index + 1, index)
    for pts, expected in [(0, 1), (3, 1), (1, 1), (2, 4)]:
        whole.packet("front", pts)
        assert whole.whole_seq == expected


def test_a_later_segment_begins_where_it_begins() -> None:
    whole = Wholeness(["front"], durable_seq=11, first_frame_index=10)
    whole.row(12, 10)
    whole.packet("front", 10)
    assert whole.whole_seq == 12


@given(st.integers(1, 12), st.integers(0, 3), st.randoms(use_true_random=False))
def test_any_interleaving_is_never_ahead_and_ends_whole(frames: int, cameras: int, random) -> None:  # type: ignore[no-untyped-def]
    names = [f"camera{i}" for i in range(cameras)]
    queues = [[("row", i) for i in range(frames)], *[[(name, i) for i in range(frames)] for name in names]]
    whole = Wholeness(names, durable_seq=0)
    seen: dict[str, int] = dict.fromkeys(["row", *names], 0)
    while any(queues):
        kind, index = random.choice([queue for queue in queues if queue]).pop(0)
        if kind == "row":
            whole.row(index + 1, index)
        else:
            whole.packet(kind, index)
        seen[kind] += 1
        assert whole.whole_seq == min(seen.values())
    assert whole.whole_seq == frames

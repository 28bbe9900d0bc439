"""Lateness, period error and their percentiles, by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.timing import TICKS_FOR_P999, achieved_fps, figures_us, lateness_ns, period_error_ns

FPS = st.sampled_from([7, 30, 50, 60, 1000])


def slot_by_slot(scheduled: list[int], started: list[int], missed: list[int], fps: int) -> list[int]:
    """The definition, without numpy: who waits longest is who was missed first."""
    found = []
    for deadline_ns, start_ns, count in zip(scheduled, started, missed, strict=True):
        for before in range(count, 0, -1):
            found.append(start_ns - (deadline_ns - before * 1_000_000_000 // fps))
        found.append(start_ns - deadline_ns)
    return found


@given(
    fps=FPS,
    ticks=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**8)), min_size=1, max_size=60),
)
def test_a_missed_slot_counts_with_the_next_start_minus_its_own_deadline(
    fps: int, ticks: list[tuple[int, int]]
) -> None:
    index, scheduled, started, missed = 0, [], [], []
    for count, late_ns in ticks:
        index += count + 1
        scheduled.append(index * 1_000_000_000 // fps)
        started.append(scheduled[-1] + late_ns)
        missed.append(count)
    found = lateness_ns(np.array(scheduled), np.array(started), np.array(missed, np.uint32), fps)
    expected = slot_by_slot(scheduled, started, missed, fps)
    assert found.tolist() == expected
    assert len(found) == len(ticks) + sum(missed)


def test_period_error_is_the_deviation_of_each_interval() -> None:
    started = np.array([0, 20_000_000, 41_000_000, 60_000_000])
    assert period_error_ns(started, 50).tolist() == [0, 1_000_000, 1_000_000]
    assert period_error_ns(started[:1], 50).tolist() == []
    assert period_error_ns(started, 0).tolist() == []


@pytest.mark.parametrize(
    ("started", "fps"), [([0, 20_000_000, 40_000_000], 50.0), ([0, 10_000_000], 100.0), ([5], None), ([], None)]
)
def test_achieved_fps(started: list[int], fps: float | None) -> None:
    assert achieved_fps(np.array(started, np.int64)) == fps


@pytest.mark.parametrize(("count", "has_p999"), [(TICKS_FOR_P999 - 1, False), (TICKS_FOR_P999, True)])
def test_no_high_percentile_from_too_few_ticks(count: int, has_p999: bool) -> None:
    figures = figures_us(np.arange(count) * 1000)
    assert figures is not None
    assert (figures.p999 is not None) is has_p999
    assert figures.max == count - 1
    assert figures.p50 == pytest.approx((count - 1) / 2)
    assert figures_us(np.array([], np.int64)) is None

"""Figures of runs whose ticks are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.load_figures import figures
from control.load_trace import TICK_DTYPE

FPS = 50
PERIOD_NS = 20_000_000
T0_NS = 7_000_000_123


def run_of(offsets_ns, *, episode=0, t0_ns=T0_NS, action_ns=1_000_000):
    """Ticks of one episode at `t0_ns` plus these."""
    ticks = np.zeros(len(offsets_ns), TICK_DTYPE)
    ticks["episode"] = episode
    ticks["started_ns"] = t0_ns + np.array(offsets_ns)
    ticks["scheduled_ns"] = t0_ns + np.array(offsets_ns) // PERIOD_NS * PERIOD_NS
    ticks["action_sent_ns"] = ticks["started_ns"] + action_ns
    return ticks


def test_a_perfect_grid_has_nothing_to_say():
    found = figures(run_of(np.arange(100) * PERIOD_NS), FPS)
    assert (found.ticks, found.episodes, found.missed_ticks, found.drift_s) == (100, 1, 0, 0.0)
    assert found.effective_fps == pytest.approx(FPS)
    assert found.lateness_us is not None
    assert found.period_error_us is not None
    assert found.action_us is not None
    assert (found.lateness_us.count, found.lateness_us.max) == (100, 0)
    assert (found.period_error_us.count, found.period_error_us.max) == (99, 0)
    assert (found.action_us.p50, found.action_us.max) == (1000, 1000)
    assert found.gap_ms is None


def test_a_missed_slot_counts_with_the_next_start():
    # Slots 2 and 3 pass without a tick; the tick of slot 4 is 1 ms late.
    found = figures(run_of([0, PERIOD_NS, 4 * PERIOD_NS + 1_000_000, 5 * PERIOD_NS]), FPS)
    assert found.missed_ticks == 2
    assert found.lateness_us is not None
    assert found.action_us is not None
    assert found.lateness_us.count == 6
    assert found.lateness_us.max == 41_000
    assert found.action_us.max == 42_000
    # The fourth row claims 60 ms and was taken at 100.
    assert found.drift_s == pytest.approx(0.040)


def test_a_loop_that_only_sleeps_too_long_is_late_by_ever_more():
    # Each interval is 1 ms too long: after twenty ticks a whole slot has been lost.
    found = figures(run_of(np.arange(41) * (PERIOD_NS + 1_000_000)), FPS)
    assert found.missed_ticks == 2
    assert found.drift_s == pytest.approx(0.040)
    assert found.effective_fps == pytest.approx(1e9 / (PERIOD_NS + 1_000_000))
    assert found.period_error_us is not None
    assert found.period_error_us.p50 == found.period_error_us.max == 1000
    assert found.lateness_us is not None
    assert 19_000 <= found.lateness_us.max <= 20_000


def test_episodes_have_grids_of_their_own_and_gaps_between_them():
    first = run_of(np.arange(10) * PERIOD_NS)
    starts = [T0_NS + 9 * PERIOD_NS + PERIOD_NS + 3_000_000]
    starts.append(starts[0] + 9 * PERIOD_NS + PERIOD_NS + 5_000_000)
    later = [run_of(np.arange(10) * PERIOD_NS, episode=i + 1, t0_ns=start) for i, start in enumerate(starts)]
    found = figures(np.concatenate([first, *later]), FPS)
    assert (found.episodes, found.missed_ticks, found.drift_s) == (3, 0, 0.0)
    assert found.gap_ms == pytest.approx((4.0, 5.0))
    assert found.period_error_us is not None
    assert found.period_error_us.max == 0


@pytest.mark.parametrize(("ticks", "given"), [(9_999, False), (10_000, True)])
def test_p999_needs_ten_thousand_ticks(ticks, given):
    found = figures(run_of(np.arange(ticks) * PERIOD_NS), FPS)
    assert found.lateness_us is not None
    assert (found.lateness_us.p999 is not None) is given


def test_no_ticks():
    found = figures(np.zeros(0, TICK_DTYPE), FPS)
    assert (found.ticks, found.effective_fps, found.lateness_us, found.gap_ms) == (0, None, None, None)


@given(
    fps=st.integers(1, 1000),
    late_ns=st.lists(st.integers(0, 10**8), min_size=1, max_size=60),
)
def test_every_slot_counts_once_and_is_served_by_a_tick(fps, late_ns):
    # As the pacer does it: each tick takes the first slot from the end of the one before, late by so much.
    ticks = np.zeros(len(late_ns), TICK_DTYPE)
    slot, missed = 0, 0
    for tick, late in zip(ticks, late_ns, strict=True):
        tick["scheduled_ns"] = T0_NS + slot * 10**9 // fps
        tick["started_ns"] = tick["scheduled_ns"] + late
        tick["action_sent_ns"] = tick["started_ns"]
        following = -(-(int(tick["started_ns"]) + 1 - T0_NS) * fps // 10**9)
        tick["missed_slots"] = missed
        missed = max(following - slot - 1, 0)
        slot = max(following, slot + 1)
    found = figures(ticks, fps)
    assert found.lateness_us is not None
    # Slots that passed during the last tick are counted as well: it is their next start.
    assert found.missed_ticks == int(ticks["missed_slots"].sum()) + max(missed, 0)
    assert found.lateness_us.count == found.ticks + found.missed_ticks
    assert 0 <= found.lateness_us.p50 <= found.lateness_us.max

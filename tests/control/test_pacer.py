from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from control.clock import FakeClock, SystemClock
from control.pacer import SECOND_NS, Pacer, Tick
from transport.errors import UsageError

FPS = st.integers(1, 1000)
T0 = st.integers(0, 10**15)
# From idle to several slots of any rate, with the exact boundaries between two slots likely.
WORK_NS = st.one_of(st.integers(0, 3 * SECOND_NS), st.integers(1, 90).map(lambda k: k * SECOND_NS // 30))


def started_pacer(fps: int, t0_ns: int) -> tuple[Pacer, FakeClock]:
    clock = FakeClock(t0_ns)
    pacer = Pacer(fps, clock)
    pacer.start()
    return pacer, clock


def test_tick_0_is_at_t0_and_the_others_follow_without_a_miss() -> None:
    pacer, _ = started_pacer(30, 1000)
    ticks = [pacer.wait() for _ in range(4)]
    assert ticks == [
        Tick(0, 1000, 1000, 0),
        Tick(1, 1000 + 33_333_333, 1000 + 33_333_333, 0),
        Tick(2, 1000 + 66_666_666, 1000 + 66_666_666, 0),
        Tick(3, 1000 + 100_000_000, 1000 + 100_000_000, 0),
    ]


@pytest.mark.parametrize(
    ("work_ns", "index", "missed"),
    [
        (0, 1, 0),
        (9_999_999, 1, 0),
        (10_000_000, 1, 0),
        (10_000_001, 2, 1),
        (20_000_000, 2, 1),
        (20_000_001, 3, 2),
        (1_000_000_000, 100, 99),
    ],
)
def test_an_overrun_costs_exactly_the_slots_that_it_ran_past(work_ns: int, index: int, missed: int) -> None:
    pacer, clock = started_pacer(100, 5)
    pacer.wait()
    clock.advance(work_ns)
    tick = pacer.wait()
    assert (tick.index, tick.missed_slots, tick.lateness_ns) == (index, missed, 0)
    assert tick.scheduled_ns == 5 + index * 10_000_000
    assert pacer.wait() == Tick(index + 1, 5 + (index + 1) * 10_000_000, 5 + (index + 1) * 10_000_000, 0)


def test_slot_0_is_late_rather_than_skipped() -> None:
    pacer, clock = started_pacer(10, 0)
    clock.advance(250_000_000)
    assert pacer.wait() == Tick(0, 0, 250_000_000, 0)
    assert pacer.wait() == Tick(3, 300_000_000, 300_000_000, 2)


def test_start_in_the_future_waits_for_it_and_start_again_makes_a_new_grid() -> None:
    clock = FakeClock(100)
    pacer = Pacer(50, clock)
    pacer.start(t0_ns=5000)
    assert pacer.wait() == Tick(0, 5000, 5000, 0)
    pacer.wait()
    clock.advance(77)
    pacer.start()
    assert pacer.wait() == Tick(0, 20_005_077, 20_005_077, 0)


class LateClock(FakeClock):
    """Wakes up a fixed time after every deadline."""

    def sleep_until_ns(self, deadline_ns: int) -> None:
        super().sleep_until_ns(deadline_ns + 40_000)


def test_a_late_wake_up_is_lateness_not_a_miss_and_shifts_nothing() -> None:
    pacer = Pacer(60, LateClock())
    pacer.start(t0_ns=1)
    ticks = [pacer.wait() for _ in range(120)]
    assert [tick.index for tick in ticks] == list(range(120))
    assert {tick.lateness_ns for tick in ticks} == {40_000}
    assert {tick.missed_slots for tick in ticks} == {0}


@given(fps=FPS, t0_ns=T0, work=st.lists(WORK_NS, max_size=40))
def test_grid_indices_and_missed_slots(fps: int, t0_ns: int, work: list[int]) -> None:
    pacer, clock = started_pacer(fps, t0_ns)
    previous = pacer.wait()
    assert (previous.index, previous.scheduled_ns, previous.missed_slots) == (0, t0_ns, 0)
    for work_ns in work:
        clock.advance(work_ns)
        finished_ns = clock.now_ns()
        tick = pacer.wait()
        assert tick.scheduled_ns == t0_ns + tick.index * SECOND_NS // fps
        assert tick.index == previous.index + 1 + tick.missed_slots
        assert tick.started_ns >= tick.scheduled_ns
        assert tick.lateness_ns == 0, "the fake clock wakes up exactly, so a skipped slot must not show as lateness"
        # Exactly the slots that had passed when the work was finished are missed, no more and no fewer.
        passed = [k for k in range(previous.index + 1, tick.index + 1) if t0_ns + k * SECOND_NS // fps < finished_ns]
        assert tick.missed_slots == len(passed)
        previous = tick


@given(fps=FPS, t0_ns=T0, index=st.integers(0, 1_000_000))
@example(fps=30, t0_ns=0, index=1_000_000)
@example(fps=60, t0_ns=7, index=1_000_000)
def test_no_drift_over_a_million_ticks(fps: int, t0_ns: int, index: int) -> None:
    pacer, _ = started_pacer(fps, t0_ns)
    exact = index * SECOND_NS / fps
    # Flooring costs less than 1 ns at any distance; the rest is the float's own precision.
    assert -1 - exact * 1e-15 <= pacer.slot_ns(index) - t0_ns - exact <= exact * 1e-15
    assert pacer.slot_ns(index * fps) - t0_ns == index * SECOND_NS
    assert 0 <= pacer.slot_ns(index + 1) - pacer.slot_ns(index) - SECOND_NS // fps <= 1


@given(fps=FPS, ticks_ahead=st.integers(1, 1_000_000))
def test_a_long_pause_lands_on_the_grid(fps: int, ticks_ahead: int) -> None:
    pacer, clock = started_pacer(fps, 3)
    pacer.wait()
    clock.advance(ticks_ahead * SECOND_NS // fps)
    tick = pacer.wait()
    assert (tick.index, tick.missed_slots) == (ticks_ahead, ticks_ahead - 1)
    assert tick.scheduled_ns == pacer.slot_ns(ticks_ahead) == clock.now_ns()


@given(work=st.lists(st.integers(0, SECOND_NS), max_size=30))
def test_unpaced_never_sleeps_and_misses_nothing(work: list[int]) -> None:
    clock = FakeClock(9)
    pacer = Pacer(0, clock)
    pacer.start()
    expected_ns = 9
    for index, work_ns in enumerate(work):
        assert pacer.wait() == Tick(index, expected_ns, expected_ns, 0)
        clock.advance(work_ns)
        expected_ns += work_ns


def test_negative_fps_is_refused() -> None:
    with pytest.raises(UsageError, match="fps -1 found"):
        Pacer(-1, FakeClock())


@pytest.mark.parametrize("spin_ns", [0, 200_000, 10**9])
def test_the_system_clock_never_returns_before_the_deadline(spin_ns: int) -> None:
    clock = SystemClock(spin_ns)
    for ahead_ns in (-1_000_000, 0, 1, 300_000, 3_000_000):
        deadline_ns = clock.now_ns() + ahead_ns
        clock.sleep_until_ns(deadline_ns)
        assert time.monotonic_ns() >= deadline_ns


def test_the_fake_clock_does_not_go_backwards() -> None:
    clock = FakeClock(10)
    clock.sleep_until_ns(3)
    assert clock.now_ns() == 10
    with pytest.raises(ValueError, match="-1 ns found"):
        clock.advance(-1)

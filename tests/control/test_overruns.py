"""Missed slots are put down to what took the time, and rules about them end where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.overruns import HeavyStep, MissedRule, Overruns
from transport.errors import OnbeatError

MS = 1_000_000


@pytest.mark.parametrize(
    ("late_ms", "sections_ms", "publish_ms", "cause"),
    [
        (0, {"policy": 5, "env.step": 40}, 1, "env.step"),
        (0, {"policy": 50, "env.step": 40}, 1, "policy"),
        (0, {"teleop": 41, "env.step": 40}, 1, "teleop"),
        (60, {"env.step": 40}, 1, "wait"),
        (0, {"env.step": 10, "the rest of the step": 30}, 1, "the rest of the step"),
        (0, {"env.step": 10}, 45, "publish"),
    ],
)
def test_the_largest_section_is_the_cause(
    late_ms: int, sections_ms: dict[str, int], publish_ms: int, cause: str
) -> None:
    overruns = Overruns(30)
    overruns.ticks = 98
    sections_ns = {name: value * MS for name, value in sections_ms.items()}
    overruns.missed_after(2, late_ms * MS, sections_ns, publish_ms * MS)
    assert overruns.missed_fraction == pytest.approx(0.02)
    assert overruns.summary().startswith(f"2 of 100 slots missed: 2 by {cause} (up to ")
    assert "of a tick of 33.3 ms" in overruns.summary()


def test_one_line_for_many_misses_with_the_commonest_cause_first() -> None:
    overruns = Overruns(50)
    overruns.ticks = 94
    overruns.missed_after(1, 0, {"policy": 30 * MS}, 0)
    overruns.missed_after(3, 0, {"env.step": 70 * MS}, 0)
    overruns.missed_after(2, 0, {"env.step": 90 * MS}, 0)
    assert overruns.summary() == (
        "6 of 100 slots missed: 5 by env.step (up to 90.0 ms of a tick of 20.0 ms), "
        "1 by policy (up to 30.0 ms of a tick of 20.0 ms)"
    )


def test_an_episode_on_its_grid_has_nothing_to_say() -> None:
    overruns = Overruns(50)
    overruns.ticks = 100
    assert overruns.summary() == ""
    assert overruns.missed_fraction == 0.0


@pytest.mark.parametrize(("limit", "is_wrong"), [(None, False), (0.5, False), (0.1, False), (0.09, True), (0.0, True)])
def test_the_limit_is_the_largest_fraction_that_passes(limit: float | None, is_wrong: bool) -> None:
    overruns = Overruns(30)
    overruns.ticks, overruns.missed = 90, 10
    assert bool(MissedRule(limit).objection(overruns)) is is_wrong


def test_rejecting_ends_after_three_in_a_row() -> None:
    good, bad = Overruns(30), Overruns(30)
    good.ticks = bad.ticks = 10
    bad.missed = 10
    rule = MissedRule(0.1, rejects=True)
    for overruns in (bad, bad, good, bad, bad):
        rule.objection(overruns)
        rule.check_progress()
    rule.objection(bad)
    with pytest.raises(OnbeatError, match=r"3 episodes in a row .* lower --dataset.fps"):
        rule.check_progress()


def test_marking_never_ends_the_session() -> None:
    bad = Overruns(30)
    bad.ticks = bad.missed = 10
    rule = MissedRule(0.1)
    for _ in range(10):
        assert rule.objection(bad) == "50.0% missed, more than --timing.max_missed_fraction=0.1"
        rule.check_progress()


def heavy_after(busy_ms: list[float], cpu_part: float, fps: int = 50) -> int | None:
    """In which tick the loop was found too heavy."""
    now_ns, cpu_ns = 0, 0
    watch = HeavyStep(fps, lambda: cpu_ns)
    for index, busy in enumerate(busy_ms):
        started_ns = now_ns
        now_ns += int(busy * MS)
        cpu_ns += int(busy * MS * cpu_part)
        if watch.is_heavy(started_ns, now_ns):
            return index
        now_ns = max(now_ns, started_ns + 20 * MS)
        cpu_ns += int(max(20 - busy, 0) * MS * 0.01)
    return None


@pytest.mark.parametrize(
    ("busy_ms", "cpu_part", "found"),
    [
        ([19.0] * 100, 1.0, 50),
        ([19.0] * 49, 1.0, None),
        ([19.0] * 49 + [15.0] + [19.0] * 49, 1.0, None),
        ([15.0] * 500, 1.0, None),
        ([40.0] * 100, 1.0, 25),
        ([19.0] * 500, 0.2, None),
    ],
    ids=["for a second", "not long enough", "a light tick between", "at 75 %", "overrunning", "waiting for a bus"],
)
def test_a_heavy_step_is_one_that_computes_for_a_second(
    busy_ms: list[float], cpu_part: float, found: int | None
) -> None:
    assert heavy_after(busy_ms, cpu_part) == found


@given(st.lists(st.floats(0, 60), max_size=200))
def test_unpaced_is_never_heavy(busy_ms: list[float]) -> None:
    assert heavy_after(busy_ms, 1.0, fps=0) is None

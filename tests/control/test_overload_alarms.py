"""What the operator hears of a log that fills up."""

from __future__ import annotations

import re

import pytest

from control.overload import LogFill, OverloadWatch

MB = 1_000_000


def fill(ring: int = 0, *, spill_mb: float = 0, room_mb: float = 1000, trouble: str = "") -> LogFill:
    """100 records fit into the ring, each of 1 MB, 50 a second."""
    return LogFill(ring, 100, int(spill_mb), int(spill_mb * MB), int(room_mb * MB), trouble)


def watch() -> OverloadWatch:
    return OverloadWatch(fps=50, record_bytes=MB)


@pytest.mark.parametrize(
    ("found", "urgency", "text"),
    [
        (fill(50), 0, "log ring 50% full: 50 MB (1.0 s) wait for the writer; .* room for 1.0 GB (20.0 s)"),
        (
            fill(50, room_mb=0),
            0,
            "log ring 50% full: .*, and the spill file has no room; the episode ends 50 MB",
        ),
        (
            fill(80),
            1,
            "log ring 80% full: 80 MB (1.6 s) .* spill disk is too slow; the episode ends 20 MB (0.4 s)",
        ),
        (fill(80, trouble="disk dead"), 1, "log ring 80% full: .* nothing more can be spilled (disk dead)"),
        (
            fill(100),
            2,
            "log ring full: 100 MB (2.0 s) .* the running episode ends here, and what follows",
        ),
        (fill(0, spill_mb=500, room_mb=500), 0, "spill file 50% full: 500 MB (10.0 s) .*; 500 MB (10.0 s) are left"),
        (fill(0, spill_mb=850, room_mb=150), 1, "spill file 80% full: 850 MB (17.0 s) .*; 150 MB (3.0 s) are left"),
        (
            fill(0, spill_mb=1000, room_mb=0),
            2,
            "spill file full: 1.0 GB (20.0 s) .* (no more is allowed); only",
        ),
        (
            fill(0, spill_mb=10, trouble="disk full"),
            2,
            "spill file full: 10 MB (0.2 s) .* (disk full); only",
        ),
    ],
)
def test_each_level_is_said_in_words_bytes_and_seconds(found: LogFill, urgency: int, text: str) -> None:
    (alarm,) = watch().look(found)
    assert alarm.urgency == urgency
    assert re.match(re.escape(text).replace(r"\.\*", ".*"), alarm.text), alarm.text


@pytest.mark.parametrize("found", [fill(0), fill(49), fill(10, spill_mb=499, room_mb=501), fill(0, room_mb=0)])
def test_below_half_nothing_is_said(found: LogFill) -> None:
    assert watch().look(found) == []


def test_a_level_is_said_once_until_the_fill_has_fallen_well_below_it() -> None:
    overload = watch()
    said = []
    for ring in (10, 55, 49, 52, 85, 79, 100, 90, 100, 60, 34, 55, 100, 10):
        said += [(ring, alarm.urgency) for alarm in overload.look(fill(ring))]
    assert said == [(55, 0), (85, 1), (100, 2), (55, 0), (100, 2)]


def test_a_jump_over_levels_is_said_once_at_the_highest() -> None:
    overload = watch()
    assert [alarm.urgency for alarm in overload.look(fill(100))] == [2]
    assert overload.look(fill(95)) == []


def test_ring_and_spill_are_said_each_for_itself() -> None:
    overload = watch()
    overload.look(fill(60))
    assert [alarm.text[:5] for alarm in overload.look(fill(60, spill_mb=900, room_mb=100))] == ["spill"]

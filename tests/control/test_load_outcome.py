from __future__ import annotations

import json

import numpy as np
import pytest

from control.load_config import LoadFlags
from control.load_figures import figures
from control.load_outcome import LoadOutcome
from control.load_trace import TICK_DTYPE


def outcome(ticks=10_000, late_ns=50_000, lost: int | None = 3):
    """A run at 50 fps in which every tick is late by as much, and one slot is missed."""
    trace = np.zeros(ticks, TICK_DTYPE)
    slots = np.arange(ticks) + (np.arange(ticks) > 5)
    trace["scheduled_ns"] = slots * 20_000_000
    trace["started_ns"] = trace["action_sent_ns"] = trace["scheduled_ns"] + late_ns
    return LoadOutcome(50, figures(trace, 50), 1 << 20, 0.5, lost, "by decoding", (), {"SCHED_FIFO": "not permitted"})


@pytest.mark.parametrize(
    ("limits", "exceeded"),
    [
        ({}, []),
        ({"max_p999_us": 50, "max_missed": 1, "max_lost": 3}, []),
        ({"max_p999_us": 49}, ["p99.9 of the lateness: 50 µs, more than --load.max_p999_us=49"]),
        ({"max_missed": 0}, ["missed ticks: 1, more than --load.max_missed=0"]),
        ({"max_lost": 2}, ["lost pictures: 3, more than --load.max_lost=2"]),
    ],
)
def test_limits(limits, exceeded):
    assert outcome().exceeded(LoadFlags(**limits)) == exceeded


def test_what_was_not_measured_is_not_within_a_limit():
    found = outcome(lost=None).exceeded(LoadFlags(max_lost=0))
    assert found == ["lost pictures: not measured, --load.max_lost=0 cannot be held"]


def test_lines_and_json_hold_the_figures():
    lines = "\n".join(outcome().lines())
    assert "missed 1" in lines
    assert "pictures lost 3 (by decoding)" in lines
    assert "SCHED_FIFO: not permitted" in lines
    values = json.loads(json.dumps(outcome().to_json()))
    assert values["figures"]["lateness_us"]["p999"] == pytest.approx(50)
    assert values["pictures_lost"] == 3


def test_a_short_run_has_no_p999():
    assert json.loads(json.dumps(outcome(ticks=500).to_json()))["figures"]["lateness_us"]["p999"] is None

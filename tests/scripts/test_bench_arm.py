"""The arithmetic of the arm's bench."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from scripts.bench_kit.arm_figures import ArmSession, ages_ns, all_met, predicted_missed, session, verdicts
from scripts.emulators.feetech.history import Access
from transport.timing import Figures

FPS, TICK_NS = 50, 20_000_000
LATENESS = Figures(10_000, 5, 20, 100, 200)
AGE = Figures(600, 2000, 3000, None, 5000)
GOOD = ArmSession("onbeat", 10_000, AGE, LATENESS, work_us=3000)


def accesses(kind: str, times_ns: list[int], faults: dict[int, str] | None = None) -> list[Access]:
    return [Access(i, t, kind, "x", {1: i}, (faults or {}).get(i)) for i, t in enumerate(times_ns)]


@pytest.mark.parametrize(
    ("reads", "goals", "ages"),
    [
        ([0, 100, 200], [30, 140, 250], [30, 40, 50]),
        ([0, 10, 200], [30, 240], [20, 40]),  # the second read is a repetition
        ([50], [10, 80], [30]),  # nothing was read before the first goal
        ([], [10], []),
    ],
)
def test_age_is_that_of_the_newest_read(reads: list[int], goals: list[int], ages: list[int]) -> None:
    assert ages_ns(accesses("read", reads), accesses("write", goals)).tolist() == ages


def test_session_counts_slots_and_the_silence_while_it_recorded() -> None:
    began = np.arange(5) * TICK_NS + 10**12
    told = {
        "scheduled_ns": began,
        "observed_ns": began + 10,
        "started_ns": began + 10,
        "missed_slots": np.array([0, 0, 1, 0, 0]),
        "teleop_us": np.full(5, 1000, np.uint32),
        "step_us": np.full(5, 2000, np.uint32),
        "robot_read_failed": np.array([[False], [True], [False], [False], [False]]),
        "teleop_read_failed": np.array([[False], [False], [True], [False], [False]]),
        "cameras.front.stale": np.array([[False], [True], [True], [False], [False]]),
        "sent_action": np.zeros((5, 6)),
    }
    silent = dict.fromkeys(range(5), "silence")
    reads = accesses("read", [int(began[1]) + 20, int(began[0]) - TICK_NS, int(began[4]) + 2 * TICK_NS], silent)
    leader_reads = accesses("read", [int(began[2]) + 30, int(began[3])], {0: "silence", 1: "late"})
    found = session("onbeat", FPS, told, reads, leader_reads, accesses("write", [int(began[4])]))
    assert (found.ticks, found.missed_slots, found.failed_reads, found.silent_reads, found.stale) == (5, 1, 2, 2, 2)
    assert found.work_us == 3000
    assert found.lateness is not None
    assert (found.lateness.count, found.lateness.max) == (6, 20_000.01)
    json.dumps(asdict(found))


@pytest.mark.parametrize(
    ("silent", "work_us", "missed"), [(9, 3000, 0), (9, 14_999, 0), (9, 15_001, 9), (0, 30_000, 0), (2, 36_000, 4)]
)
def test_a_silent_read_costs_a_quarter_of_a_tick(silent: int, work_us: float, missed: int) -> None:
    assert predicted_missed(silent, work_us, FPS) == missed


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({}, []),
        ({"with_cameras": replace(GOOD, lateness=replace(LATENESS, p999=301))}, ["cameras add 201 µs"]),
        ({"stock": replace(GOOD, age=replace(AGE, p50=1999))}, ["action sent 2000"]),
        ({"silent": replace(GOOD, silent_reads=9, missed_slots=1)}, ["9 silent reads"]),
        ({"silent": replace(GOOD, problems=["episode 0: 3 frames do not decode"])}, ["episode 0: 3"]),
    ],
)
def test_verdicts(changes: dict[str, ArmSession], bad: list[str]) -> None:
    sessions = {"without": GOOD, "with_cameras": GOOD, "stock": GOOD, "silent": GOOD, **changes}
    lines = verdicts(*sessions.values(), FPS)
    assert len(lines) == 4
    assert [line.removeprefix("NOT MET  ")[: len(bad[0])] for line in lines if line.startswith("NOT MET")] == bad
    assert all_met(lines) is (not bad)

"""Which ticks the bench calls disturbed by the machine, and what it leaves out for that."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.load_figures import missed_slots, spreads_ns
from control.load_trace import TICK_DTYPE
from scripts.bench_kit.stalls import Stalls, disturbed, stood_still_ns, undisturbed, watched

ROOT = Path(__file__).parents[2]

MS = 1_000_000
FPS = 100


def trace(*started_ms: float, episodes: tuple[int, ...] = ()) -> np.ndarray:
    """Ticks that were due every 10 ms from 0 on in each episode."""
    ticks = np.zeros(len(started_ms), TICK_DTYPE)
    ticks["started_ns"] = np.round(np.array(started_ms) * MS)
    ticks["action_sent_ns"] = ticks["started_ns"] + MS
    ticks["episode"] = episodes or (0,) * len(started_ms)
    ticks["scheduled_ns"] = np.array(started_ms) // 10 * 10 * MS
    return ticks


def spans(*pairs: tuple[float, float]) -> np.ndarray:
    return np.round(np.array(pairs).reshape(-1, 2) * MS).astype(np.int64)


@pytest.mark.parametrize(
    ("span", "hit"),
    [
        ((-3, -1), [False, False, False, False]),
        ((-3, 0.5), [True, True, False, False]),
        ((5, 6), [False, True, False, False]),
        ((0.1, 0.6), [True, True, False, False]),  # the tick after a late one too
        ((8, 25), [False, True, True, True]),
        ((0.5, 10.0), [True, True, False, False]),
        ((9, 9.9), [False, True, False, False]),
        ((31, 99), [False, False, False, False]),
        ((-1, 99), [True, True, True, True]),
    ],
)
def test_a_tick_is_disturbed_by_what_happens_between_the_slot_before_and_its_start(span, hit):
    assert disturbed(trace(0.7, 10, 20.1, 30), spans(span)).tolist() == hit


def test_between_two_episodes_nothing_is_disturbed():
    ticks = trace(0, 10, 500, 510, episodes=(0, 0, 1, 1))
    assert not disturbed(ticks, spans((20, 490))).any()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30)), max_size=12))
def test_as_if_every_span_were_compared_with_every_tick(pairs):
    ticks = trace(*(10.0 * slot + (slot * 7 % 5) / 10 for slot in range(40)))
    found = spans(*((begin, begin + length) for begin, length in pairs))
    starts, slots = ticks["started_ns"], ticks["scheduled_ns"]
    since = np.r_[slots[0], slots[:-1]]
    expected = [any(b < start and e > before for b, e in found) for before, start in zip(since, starts, strict=True)]
    assert disturbed(ticks, found).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 300)), max_size=12))
def test_processors_that_stand_still_at_once_count_once(pairs):
    ticks = trace(*(10.0 * slot + (slot * 7 % 5) / 10 for slot in range(40)))
    found = spans(*((begin, begin + length / 10) for begin, length in pairs))
    # Tenths of a millisecond in which one stands still, less the half millisecond that a watch sleeps first.
    still = np.zeros(5000, bool)
    for begin, length in pairs:
        still[10 * begin + 5 : 10 * begin + length] = True
    ends = [round(ns / MS * 10) for ns in ticks["started_ns"]]
    begins = [round(ns / MS * 10) for ns in np.r_[ticks["scheduled_ns"][0], ticks["scheduled_ns"][:-1]]]
    expected = [still[begin:end].sum() * MS // 10 for begin, end in zip(begins, ends, strict=True)]
    assert stood_still_ns(ticks, found).tolist() == expected


def test_a_short_stall_does_not_excuse_a_missed_slot():
    ticks = trace(0, 10, 35, 40)
    assert missed_slots(ticks, FPS) == 1
    for length_ms, missed in ((2, 1), (5.4, 1), (5.6, 0)):
        left = undisturbed(ticks, Stalls(spans((12, 12 + length_ms))), 1, FPS)
        assert (left.disturbed_ticks, left.missed_slots) == (1, missed)


def test_only_disturbed_ticks_are_left_out_with_their_slots_and_intervals():
    # The third tick missed two slots in a stall; the last is late, after a missed slot, for reasons of its own.
    ticks = trace(0, 10, 42, 50, 60, 85)
    everything = spreads_ns(ticks, FPS)
    assert (everything.lateness / MS).tolist() == [0, 0, 22, 12, 2, 0, 0, 15, 5]
    stalls = Stalls(spans((15, 40), (200, 300)), [spans((-9, -8), (5, 7)), spans((50, 51), (60, 64))])
    left = undisturbed(ticks, stalls, 2, FPS)
    assert (left.disturbed_ticks, left.stalls, left.longest_us) == (1, 1, 25_000)
    assert (left.missed_slots, missed_slots(ticks, FPS)) == (1, 3)
    assert (left.still_ms, left.elsewhere_ms) == (12.5, 3.5)
    assert (left.spreads.lateness / MS).tolist() == [0, 0, 0, 0, 15, 5]
    assert (left.spreads.action / MS).tolist() == [1, 1, 1, 1, 16, 6]
    assert (left.spreads.period_error / MS).tolist() == [0, 0, 15]
    found = left.to_json()
    assert found["lateness_us"]["max"] == 15_000
    assert found["disturbed_ticks"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="watching for stalls needs real-time priority, which root has")
def test_the_watches_end_and_tell_spans_in_order_of_time():
    core, *others = sorted(os.sched_getaffinity(0))
    with watched(frozenset([core]), frozenset(others)) as stalls:
        assert len(stalls.spans) == 0
    assert len(stalls.elsewhere) == len(others)
    for found in (stalls.spans, *stalls.elsewhere):
        assert found.shape[1] == 2
        assert (found[:, 1] - found[:, 0] > 500_000).all()
    with watched(frozenset()) as nothing:
        pass
    assert nothing.spans.shape == (0, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="watching for stalls needs real-time priority, which root has")
def test_a_watch_does_not_outlive_a_bench_that_is_killed(tmp_path):
    cpu = min(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "scripts.bench_kit.run_stalls", f"{cpu}", f"{tmp_path / 'found.npy'}"]
    # Reads the watch's word itself: two processes that write into one pipe may write into each other's line.
    starts = (
        f"import subprocess, time; p = subprocess.Popen({command!r}, stdout=subprocess.PIPE, text=True); "
        "print(p.stdout.readline().strip(), p.pid, flush=True); time.sleep(600)"
    )
    bench = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert bench.stdout is not None
        word, pid = bench.stdout.readline().split()
        assert word == "watching"
        watch = os.pidfd_open(int(pid))
    finally:
        bench.kill()
        bench.wait()
    ended, _, _ = select.select([watch], [], [], 20)
    os.close(watch)
    bench.stdout.close()
    assert ended

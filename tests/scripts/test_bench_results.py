"""The arithmetic of the bench: medians, void runs, the ladder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from control.load_figures import figures, spreads_ns
from control.load_trace import TICK_DTYPE
from scripts.bench_kit import results
from scripts.bench_kit.ladder import climb, sustains
from scripts.bench_kit.loads import FULL, LOADS, QUICK, BenchLoad, planned_s
from scripts.bench_kit.runs import Run
from scripts.bench_kit.stalls import Undisturbed
from scripts.bench_kit.watch import Watch

LOAD = BenchLoad(1, 640, 480, 60, "h264")


def run(fps: float = 60.0, lost: int | None = 0, lag_s: float = 0.3) -> Run:
    ticks = np.zeros(600, TICK_DTYPE)
    ticks["started_ns"] = ticks["action_sent_ns"] = (np.arange(600) * 1e9 / fps).astype(np.int64)
    return Run(
        figures(ticks, 60),
        spreads_ns(ticks, 60),
        lost,
        {"ingest": 6.0},
        {"ingest": 90.0},
        details={"writer_lag_s": lag_s},
    )


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (run(), True),
        (run(fps=59.8), True),
        (run(fps=59.6), False),
        (run(lost=1), False),
        (run(lost=None), False),
        (run(lag_s=1.2), False),
        (Run(failure="exit code 1"), False),
    ],
)
def test_sustained(found, good):
    assert sustains(found, LOAD) is good


@pytest.mark.parametrize(("limit", "best"), [(0, 0), (1, 1), (5, 4), (99, 8)])
def test_the_ladder_ends_where_a_step_fails_twice(limit, best):
    tried = []

    def attempt(step):
        tried.append(step.cameras)
        return run(lost=0 if step.cameras <= limit else 7)

    assert climb(LOAD, (1, 2, 4, 8), attempt) == best
    assert tried.count(max(tried)) == (1 if limit == 99 else 2)


def test_one_bad_try_is_no_end():
    answers = iter([run(lost=3), run(), run()])
    assert climb(LOAD, (1, 2), lambda step: next(answers)) == 2


def timed(late_us, *, worst_us=None, ticks=600, fps=60):
    """A run of which every tick is late by `late_us`, and every 50th by `worst_us`."""
    trace = np.zeros(ticks, TICK_DTYPE)
    late_ns = np.full(ticks, round(late_us * 1000))
    if worst_us is not None:
        late_ns[49::50] = round(worst_us * 1000)
    trace["scheduled_ns"] = np.arange(ticks) * 10**9 // fps
    trace["started_ns"] = trace["action_sent_ns"] = trace["scheduled_ns"] + late_ns
    return Run(figures(trace, fps), spreads_ns(trace, fps), 0, {"ingest": 6.0}, {"ingest": 90.0})


def repeat(late_us, floor_worst_us=30.0, ticks=600):
    floor = timed(3.0, worst_us=floor_worst_us, ticks=ticks)
    return {"onbeat": timed(late_us, ticks=ticks), "lerobot": timed(late_us * 100, ticks=ticks), "floor": floor}


def test_void_runs_are_left_out_of_the_medians():
    found = results.summarize("x", [repeat(5.0), repeat(900.0, floor_worst_us=101.0), repeat(7.0, floor_worst_us=99.0)])
    assert (found["runs_used"], found["void"]) == (2, False)
    assert found["onbeat"]["lateness_us"]["p99"] == pytest.approx(6.0)
    assert found["onbeat"]["cpu_s_per_1000_frames"] == {"ingest": 10.0}


def test_if_all_are_void_it_is_said():
    found = results.summarize("x", [repeat(5.0, floor_worst_us=500.0)])
    assert found["void"]
    assert any("VOID" in line for line in results.table([found]))


def test_p999_is_of_all_ticks_together_and_none_below_ten_thousand():
    few = results.summarize("x", [repeat(5.0), repeat(7.0)])
    assert few["onbeat"]["lateness_us"]["p999"] is None
    enough = results.summarize("x", [repeat(5.0, ticks=5000), {**repeat(5.0), "onbeat": timed(9, ticks=5000)}])
    assert enough["onbeat"]["lateness_us"]["p999"] == pytest.approx(9.0)
    assert enough["onbeat"]["lateness_us"]["p99"] == pytest.approx(7.0)
    assert enough["onbeat"]["lateness_us"]["max_of_all"] == pytest.approx(9.0)


def test_ratios_compare_the_highest_figure_that_all_have():
    runs = {"onbeat": timed(5, worst_us=25), "lerobot": timed(5, worst_us=2005), "floor": timed(3)}
    assert results.ratios([results.summarize("x", [runs])]) == [
        "x: period error p99 100 times better than lerobot's; lateness p99 +22 µs against the floor's"
    ]


def test_a_run_that_failed_is_shown_and_spoils_no_median():
    failed = {**repeat(30.0), "lerobot": Run(failure="exit code 1: no")}
    found = results.summarize("x", [repeat(30.0), failed])
    text = "\n".join(results.table([found]))
    assert "exit code 1: no" in text
    assert found["lerobot"]["ticks"] == 600
    neither = results.summarize("x", [failed])
    assert "exit code 1: no" in "\n".join(results.table([neither]))
    assert results.ratios([neither]) == []


def test_a_run_as_json_counts_by_a_thousand_frames():
    found = run().to_json()
    assert found["cpu_s_per_1000_frames"] == {"ingest": 10.0}
    assert found["lateness_us"]["count"] >= 600
    assert "failure" not in found


def test_the_full_bench_has_ticks_for_every_p999():
    assert FULL.repeats * (FULL.ticks - FULL.episodes) >= 10_000
    assert FULL.repeats * (FULL.lerobot_ticks - FULL.episodes) >= 10_000
    assert planned_s(QUICK, LOADS) < 400
    assert len({load.name for load in LOADS}) == 5
    assert replace(LOADS[1], busy=1).name == "4x640x480@60 h264, starved"


def test_the_watch_sees_processor_time_and_memory_of_children():
    code = "import sys; print('up', flush=True); sum(range(10**7)); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        watch = Watch(process.pid, memory_after_s=0)
        while not (watch.memory_mb and watch.cpu_s(0).get("others", 0) > 0.05):
            assert process.poll() is None
        watch.stop()
        process.stdin.close()
    assert watch.memory_mb["others"] > 1
    assert "ring" not in watch.memory_mb


def test_undisturbed_ticks_have_rows_and_ratios_of_their_own():
    runs = {"onbeat": timed(5, worst_us=2025), "lerobot": timed(5, worst_us=2005), "floor": timed(3)}
    for system, run in runs.items():
        quiet = timed(4 if system != "lerobot" else 5, worst_us=0 if system != "lerobot" else 905)
        run.undisturbed = Undisturbed(quiet.spreads, 7, 1, 9, 8000.0, 12.0, None if system == "floor" else 11.0)
    found = results.summarize("x", [runs, runs])
    assert found["onbeat"]["undisturbed"]["disturbed_ticks"] == 14
    assert found["onbeat"]["undisturbed"]["missed_slots"] == 2
    assert found["onbeat"]["undisturbed"]["lateness_us"]["max_of_all"] < found["onbeat"]["lateness_us"]["max_of_all"]
    lines = "\n".join(results.table([found]))
    assert lines.count("\nonbeat ") == 3
    assert lines.count("   14; 2\n") == 3
    assert "stood still for (ms of a run): onbeat 12 (one that ran nothing of it 11), " in lines
    assert lines.count("floor 12\n") == 1
    raw, quiet_line = results.ratios([found])
    assert raw.startswith("x: period error p99 1 times")
    assert quiet_line.startswith("x, undisturbed: period error p99 ")

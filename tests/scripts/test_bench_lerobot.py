"""The bench's run of stock lerobot: lerobot takes the simulated robot, and every tick's picture is found again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.bench_kit.loads import BenchLoad
from scripts.bench_kit.runs import Bench

LOAD = BenchLoad(2, 96, 64, 20, "h264")


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("system", ["lerobot", "onbeat"])
def test_a_run_has_its_ticks_and_loses_nothing(tmp_path: Path, system: str) -> None:
    bench = Bench(tmp_path, frozenset(os.sched_getaffinity(0)))
    run = getattr(bench, system)(LOAD, 40, 2)
    assert run.failure == ""
    assert run.figures is not None
    assert run.figures.episodes == 2
    # A loop that only sleeps makes fewer of them than its rate says.
    assert 20 <= run.figures.ticks <= 40
    assert run.frames_lost == 0
    assert run.cpu_s
    assert not list(tmp_path.iterdir()), "datasets are removed"

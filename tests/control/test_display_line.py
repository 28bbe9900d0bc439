"""What the operator reads where there is no terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from control.board import LoopFigures, Phase
from control.display import Display

FIGURES = LoopFigures(
    phase=Phase.RECORDING,
    episode_id=1,
    recorded=1,
    frames=60,
    ticks=60,
    achieved_fps=None,
    period_error_us=None,
    lateness_us=None,
    missed_slots=0,
)


@pytest.mark.parametrize(
    ("phase", "recorded", "draining", "says"),
    [
        (Phase.RECORDING, 1, False, "episode: 2 of 2 (take 1)"),
        (Phase.ENDED, 2, False, "episode: 2 of 2 (take 1)"),
        (Phase.ENDED, 2, True, "episode: 2 of 2 (take 1)"),
    ],
)
def test_an_episode_that_has_ended_is_no_further_one(phase: Phase, recorded: int, draining: bool, says: str) -> None:
    text = io.StringIO()
    display = Display(2, Console(file=text, width=400))
    display.update(
        figures=replace(FIGURES, phase=phase, recorded=recorded),
        publisher={},
        ring_fill_bytes=0,
        ring_fill_s=0.0,
        ring_fraction=0.0,
        draining=draining,
    )
    assert says in text.getvalue()

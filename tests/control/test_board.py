"""The figures and keys that control and supervisor share."""

from __future__ import annotations

import os

import pytest

from control.board import TRACE_TICKS, Board, Phase
from control.episode_rules import OperatorEvents
from control.pacer import Tick


def both_sides() -> tuple[Board, Board]:
    control = Board.create()
    return control, Board(os.dup(control.fd))


def test_keys_are_taken_once_and_none_is_lost() -> None:
    control, supervisor = both_sides()
    assert control.take_events() == OperatorEvents()
    supervisor.press("next")
    supervisor.press("success")
    supervisor.press("success")
    assert control.take_events() == OperatorEvents(next=True, success=True)
    assert control.take_events() == OperatorEvents()
    supervisor.press("stop")
    assert control.take_events() == OperatorEvents(stop=True)


def test_figures_over_two_episodes() -> None:
    control, supervisor = both_sides()
    period_ns = 10_000_000
    for episode in (0, 1):
        control.set_phase(Phase.RECORDING, episode_id=episode, recorded=episode)
        start_ns = episode * 10**12  # the pause between episodes is no period
        for index, late_ns in enumerate([0, 1_000, 5_000, 0]):
            scheduled_ns = start_ns + index * period_ns
            control.record_tick(Tick(index, scheduled_ns, scheduled_ns + late_ns, 0), index + 1)
    figures = supervisor.figures(fps=100)
    assert (figures.phase, figures.episode_id, figures.recorded) == (Phase.RECORDING, 1, 1)
    assert (figures.frames, figures.ticks, figures.missed_slots) == (4, 8, 0)
    assert figures.lateness_us is not None
    assert figures.lateness_us[1] == 5.0
    assert figures.period_error_us is not None
    assert figures.period_error_us[1] == pytest.approx(5.0)
    assert figures.achieved_fps == pytest.approx(100.0)


def test_missed_slots_count_in_both_figures() -> None:
    control, supervisor = both_sides()
    control.set_phase(Phase.RECORDING, episode_id=0, recorded=0)
    control.record_tick(Tick(0, 0, 0, 0), 1)
    control.record_tick(Tick(3, 30_000_000, 30_050_000, 2), 2)
    figures = supervisor.figures(fps=100)
    assert figures.missed_slots == 2
    assert figures.period_error_us == (pytest.approx(20_050.0), pytest.approx(20_050.0))
    assert figures.lateness_us is not None
    assert figures.lateness_us[1] == 20_050.0, "the slot at 10 ms waited until 30.05 ms"
    assert figures.lateness_us[0] > 10_050.0, "four slots: one at its time, two missed, one slightly late"


def test_before_the_first_tick_there_are_no_figures() -> None:
    _, supervisor = both_sides()
    figures = supervisor.figures(fps=30)
    assert (figures.lateness_us, figures.period_error_us, figures.achieved_fps) == (None, None, None)


def test_the_trace_wraps_and_the_worst_stays() -> None:
    control, supervisor = both_sides()
    control.set_phase(Phase.RECORDING, episode_id=0, recorded=0)
    for index in range(TRACE_TICKS + 10):
        late_ns = 9_000_000 if index == 0 else 1_000
        control.record_tick(Tick(index, index * 10**7, index * 10**7 + late_ns, 0), index + 1)
    figures = supervisor.figures(fps=100)
    assert figures.ticks == TRACE_TICKS + 10
    assert figures.lateness_us == (1.0, 9_000.0)

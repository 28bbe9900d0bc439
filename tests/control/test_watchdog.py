"""When a control process counts as one that does not tick any more."""

from __future__ import annotations

import pytest

from control.board import Board, Phase
from control.pacer import Tick
from control.watchdog import Pulse, Watchdog

TICK_S, RESET_S = 5.0, 120.0
LOOK_S = 0.25


def silence_until_overdue_s(pulse: Pulse, *, tick_limit_s: float = TICK_S, reset_limit_s: float = RESET_S) -> float:
    """How long the same pulse is seen before it is too long; 0 within an hour."""
    watchdog = Watchdog(0.0, tick_limit_s, reset_limit_s)
    for look in range(4 * 3600):
        if watchdog.overdue_s(look * LOOK_S, pulse):
            return look * LOOK_S
    return 0.0


@pytest.mark.parametrize(
    ("phase", "ticks", "limit_s"),
    [
        (Phase.RECORDING, 1, TICK_S),
        (Phase.RECORDING, 0, RESET_S),  # the first step may compile or load
        (Phase.RESET_PHASE, 7, TICK_S),
        (Phase.WAITING_FOR_WRITER, 1, TICK_S),
        (Phase.RESETTING, 0, RESET_S),
        (Phase.STARTING, 0, RESET_S),
        (Phase.ENDED, 9, 0),
    ],
)
def test_limit_of_each_phase(phase: Phase, ticks: int, limit_s: float) -> None:
    found_s = silence_until_overdue_s(Pulse(phase, 0, ticks))
    assert found_s == (pytest.approx(limit_s, abs=2 * LOOK_S) if limit_s else 0)


def test_zero_waits_for_ever() -> None:
    for pulse in (Pulse(Phase.RECORDING, 0, 3), Pulse(Phase.RESETTING, 0, 0)):
        assert silence_until_overdue_s(pulse, tick_limit_s=0, reset_limit_s=0) == 0


def test_a_slow_loop_that_ticks_and_a_long_reset_are_left_alone() -> None:
    watchdog, now_s = Watchdog(0.0, TICK_S, RESET_S), 0.0
    for episode in range(3):
        for phase, seconds, ticks in (
            (Phase.RESETTING, 100, 0),
            (Phase.RECORDING, 60, 20),
            (Phase.RESET_PHASE, 60, 20),
        ):
            for look in range(int(seconds / LOOK_S)):
                now_s += LOOK_S
                done = 1 + int(look * LOOK_S / seconds * ticks) if ticks else 0
                assert watchdog.overdue_s(now_s, Pulse(phase, episode, done)) == 0


def test_a_supervisor_that_was_stopped_itself_accuses_nobody() -> None:
    watchdog = Watchdog(0.0, TICK_S, RESET_S)
    pulse = Pulse(Phase.RECORDING, 0, 5)
    for now_s in (0.0, 1000.0, 2000.0, 3000.0, 4000.0):
        assert watchdog.overdue_s(now_s, pulse) == 0
    assert watchdog.overdue_s(5000.0, pulse) == 0
    assert watchdog.overdue_s(6000.0, pulse) > 0


def test_board_counts_the_ticks_of_a_phase() -> None:
    board = Board.create()
    board.set_phase(Phase.RECORDING, episode_id=0, recorded=0)
    for index in range(3):
        board.record_tick(Tick(index, index, index, 0), index + 1)
    assert board.signs_of_life() == (Phase.RECORDING, 0, 3)
    board.set_phase(Phase.RESET_PHASE, episode_id=0, recorded=1)
    assert board.signs_of_life() == (Phase.RESET_PHASE, 0, 0)
    board.beat()
    assert board.signs_of_life() == (Phase.RESET_PHASE, 0, 1)

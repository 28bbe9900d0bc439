"""How a session ends before its time, seen by a control process that is none: refused, asked by SIGTERM, or killed."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from control.board import Board, Phase
from control.control_handle import ControlHandle
from control.display import Display
from control.supervisor import Supervisor
from control.supervisor_settings import SupervisorSettings
from control.warden import Warden
from transport.dataset_spec import DatasetSpec
from transport.errors import OnbeatError
from transport.link import Link

FATAL = OnbeatError("publisher ended 10 times within a minute")
SETTINGS = SupervisorSettings(DatasetSpec("me/x", fps=30), "a test", writer_address="ipc://@nowhere", play_sounds=False)


OPENED: list[Link] = []


class Control(ControlHandle):
    """Answers SIGTERM as the loop does, unless it is `stuck`."""

    def __init__(self, *, stuck: bool = False, ours: bool = True) -> None:
        link, self.theirs = Link.pair()
        super().__init__(link, os.pidfd_open(os.getpid()))
        self._stuck, self._ours, self._dead = stuck, ours, False
        self.heard: list[str] = []
        OPENED.extend((link, self.theirs))

    @property
    def is_ours(self) -> bool:
        return self._ours

    def ended(self) -> bool:
        return self._dead

    def wait(self, timeout_s: float) -> None:
        self.heard.append("waited for")

    def terminate(self) -> None:
        self.heard.append("SIGTERM")
        if not self._stuck:
            self.theirs.send({"ended": "ended by SIGTERM", "exit_code": 1})

    def kill(self) -> None:
        self.heard.append("SIGKILL")
        self._dead = True

    def was_told(self) -> list[dict[str, Any]]:
        found = []
        while select.select([self.theirs.fileno()], [], [], 0)[0]:
            received = self.theirs.receive()
            assert received is not None
            found.append(received[0])
        return found


class Session(Supervisor):
    """Everything but control is there; the first thing that happens is `happens`."""

    def __init__(self, control: Control, happens: Any, *, welcome: bool = True, guarded: bool = True) -> None:
        super().__init__(SETTINGS, control, Display(1))
        self._happens = happens
        self._board = Board.create()
        self._board.set_phase(Phase.RECORDING, episode_id=0, recorded=0)
        upload = SimpleNamespace(abandoned=False, abandon=lambda: False)
        self._news: Any = SimpleNamespace(finished=False, welcome=welcome, upload=upload, left="", recording=True)
        guardian: Any = SimpleNamespace(may_end=True, end=lambda ask: None)
        self._children = [guardian] if guarded else []

    def _prepare(self) -> Any:
        if not self._news.welcome:
            self._turn_unless_cancelled(0)
        return None, self._news

    def _turn(self, timeout_s: float) -> None:
        self._happens(self)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    while OPENED:
        OPENED.pop().close()
    for number, handler in before.items():
        signal.signal(number, handler)


def fail(session: Session) -> None:
    raise FATAL


@pytest.mark.parametrize("ours", [True, False], ids=["a process of ours", "the caller's"])
def test_a_failure_of_the_supervisor_ends_the_episode_in_order(ours: bool) -> None:
    control = Control(ours=ours)
    with pytest.raises(OnbeatError, match="publisher ended 10 times"):
        Session(control, fail).run()
    assert control.heard == ["SIGTERM", "waited for"]
    assert control.was_told() == [{"go": True}]


@pytest.mark.serial
def test_control_that_does_not_end_by_itself_is_killed_for_the_guardian() -> None:
    control, began_s = Control(stuck=True), time.monotonic()
    with pytest.raises(OnbeatError, match="publisher ended 10 times"):
        Session(control, fail).run()
    assert control.heard[:2] == ["SIGTERM", "SIGKILL"]
    assert time.monotonic() - began_s < 5


def test_a_failure_after_the_loop_disturbs_nobody() -> None:
    """SIGTERM would end a caller of `record_dataset`, who has long gone on."""

    def fail_late(session: Session) -> None:
        assert session._board is not None
        session._board.set_phase(Phase.ENDED, episode_id=0, recorded=1)
        session._on_control_ended("", 0)
        session._on_interrupt()
        session._on_interrupt()
        raise FATAL

    control = Control(ours=False)
    with pytest.raises(OnbeatError, match="publisher ended 10 times"):
        Session(control, fail_late).run()
    assert control.heard == ["waited for"]


@pytest.mark.parametrize("by", ["Ctrl-C", "key"])
def test_a_stop_while_the_writer_is_waited_for_is_a_refusal(by: str) -> None:
    def stop(session: Session) -> None:
        if by == "Ctrl-C":
            session._on_interrupt()
        else:
            operator: Any = SimpleNamespace(turn=lambda ready: (["stop"], []))
            session._obey(operator, [])

    control = Control()
    with pytest.raises(OnbeatError, match="ended by the operator before the first episode"):
        Session(control, stop, welcome=False).run()
    assert control.was_told() == [{"refused": "ended by the operator before the first episode"}]
    assert "SIGTERM" not in control.heard


def test_ctrl_c_twice_is_no_refusal() -> None:
    def stop(session: Session) -> None:
        session._on_interrupt()
        session._on_interrupt()

    control = Control()
    with pytest.raises(OnbeatError):
        Session(control, stop, welcome=False).run()
    assert control.heard[0] == "SIGTERM"


@pytest.mark.parametrize(("guarded", "heard"), [(True, ["SIGTERM", "SIGKILL"]), (False, ["SIGTERM"])])
def test_a_reset_that_takes_no_signal_is_cut_short_only_where_a_guardian_takes_over(
    guarded: bool, heard: list[str]
) -> None:
    control, board = Control(stuck=True), Board.create()
    board.set_phase(Phase.RESETTING, episode_id=1, recorded=1)
    summary: Any = SimpleNamespace(failed=lambda why, code: None)
    warden = Warden(control, board, summary, Display(1), SETTINGS, now_s=0.0)
    warden.look(9.0)
    warden.end(10.0, guarded=guarded)
    for quarter in range(41, 60):
        warden.look(quarter / 4)
    assert control.heard == heard

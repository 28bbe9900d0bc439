"""What is found out between the source and the first episode is a refusal, and no fault of the robot's."""

from __future__ import annotations

from typing import Any

import pytest

from control.config import TimingFlags
from control.episode_rules import EpisodeConfig
from control.realtime import RealTime
from control.session import SessionSettings, run_session
from control.session_plan import SessionPlan
from transport.errors import RefusedError, UsageError
from transport.link import Link
from transport.schema import Schema, Stream


class Idle:
    """A source that is never asked for anything."""

    schema, may_step_after_end, robot_type = Schema((Stream("action", "float32", (2,)),)), False, None


@pytest.mark.parametrize(
    ("ring_s", "forbids", "says"),
    [
        (5.0, True, "SCHED_FIFO priority 50: not permitted"),
        (1e9, False, "log ring"),
    ],
    ids=["a protection that is required", "a log that does not fit"],
)
def test_refused_before_anything_is_recorded(
    monkeypatch: pytest.MonkeyPatch, ring_s: float, forbids: bool, says: str
) -> None:
    def forbidden(self: Any) -> None:
        self._missing("SCHED_FIFO priority 50", "require", "not permitted", "--timing.realtime")

    if forbids:
        monkeypatch.setattr(RealTime, "_set_priority", forbidden)
    ours, theirs = Link.pair()
    source: Any = Idle()
    settings = SessionSettings(30, ring_s=ring_s, timing=TimingFlags(realtime="require"))
    try:
        with pytest.raises(RefusedError, match=says):
            run_session(source, SessionPlan("task", 1, EpisodeConfig(max_ticks=3)), settings, ours)
        received = theirs.receive(timeout_s=1)
    finally:
        ours.close()
        theirs.close()
    assert received is not None
    assert says in received[0]["failed"]
    assert received[0]["exit_code"] == UsageError.exit_code

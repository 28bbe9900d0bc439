"""lerobot's own SO-101 drivers on emulated buses that fail: what is recorded, and when it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "emulators")]

import driver_units  # noqa: E402 - the emulators, and their tests' helpers, are not installed

from control.abort import Abort  # noqa: E402
from control.config import TimingFlags  # noqa: E402
from control.errors import SourceError  # noqa: E402
from control.lerobot_build import build_source, parse  # noqa: E402
from control.lerobot_robot import RobotSource  # noqa: E402
from control.source import Draft  # noqa: E402
from scripts.emulators.feetech.arm import EmulatedArm  # noqa: E402
from transport.errors import UsageError  # noqa: E402
from transport.link import Link, spawn  # noqa: E402

pytestmark = pytest.mark.serial


# A quarter of a tick is long enough for any machine.
FPS = 2
ATTEMPTS = 3


def flags(section: str, kind: str, arm: EmulatedArm) -> list[str]:
    values = {"type": kind, "port": arm.port, "id": arm.name, "calibration_dir": arm.calibration_dir}
    return [f"--{section}.{name}={value}" for name, value in values.items()]


@contextlib.contextmanager
def arms(*follower_flags: str) -> Iterator[tuple[EmulatedArm, EmulatedArm]]:
    with (
        tempfile.TemporaryDirectory(prefix="arm") as name,
        EmulatedArm("follower", Path(name), *follower_flags) as follower,
        EmulatedArm("leader", Path(name)) as leader,
    ):
        for arm in (follower, leader):
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(arm.pid, os.SCHED_FIFO, os.sched_param(60))
        yield follower, leader


@pytest.fixture
def link() -> Iterator[Link]:
    ours, theirs = Link.pair()
    for _ in range(ATTEMPTS):
        theirs.send({"guarded": True})
    yield ours
    ours.close()
    theirs.close()


def connected(follower: EmulatedArm, leader: EmulatedArm, link: Link, on_fault: str = "release") -> RobotSource:
    """Connecting waits 50 ms for each answer, which an emulator on a busy machine may miss."""
    argv = [*flags("robot", "so101_follower", follower), *flags("teleop", "so101_leader", leader)]
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(SourceError):
            return build_source(argv, TimingFlags(), FPS, link, Abort(), on_fault)
    return build_source(argv, TimingFlags(), FPS, link, Abort(), on_fault)


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@dataclass
class Ticking:
    """A source that is ticked by hand."""

    source: RobotSource
    follower: EmulatedArm
    leader: EmulatedArm

    def tick(self) -> dict[str, Any]:
        row = np.zeros((), self.source.schema.row_dtype)
        self.source.tick(Draft(row, []))
        return {name.removeprefix("onbeat."): row[name].copy() for name in row.dtype.names or ()}

    def fail(self, arm: EmulatedArm, **faults: Any) -> None:
        arm.ask("faults", instructions=["sync_read"], **faults)

    def last_read(self, role: str) -> np.ndarray:
        arm = self.follower if role == "follower" else self.leader
        steps = arm.history("read", "Present_Position")[-1]
        return np.array(list(driver_units.units(role, steps).values()), np.float32)


@pytest.fixture
def ticking(link: Link) -> Iterator[Ticking]:
    with arms() as (follower, leader):
        source = connected(follower, leader, link)
        row = np.zeros((), source.schema.row_dtype)
        source.begin(Draft(row, []))
        try:
            yield Ticking(source, follower, leader)
        finally:
            source.close()
            assert set(follower.torque().values()) == {0}


def test_a_tick_holds_what_both_arms_said_in_it(ticking: Ticking) -> None:
    for _ in range(3):
        row = ticking.tick()
        np.testing.assert_array_equal(row["observation.state"], ticking.last_read("follower"))
        np.testing.assert_array_equal(row["action"], ticking.last_read("leader"))
        np.testing.assert_array_equal(row["sent_action"], row["action"])
        assert row["observed_ns"] > 0
        assert not row["robot_read_failed"]
    assert ticking.source.robot_type == "so_follower"


def test_the_reset_phase_goes_on_following(ticking: Ticking) -> None:
    before = len(ticking.follower.history("write", "Goal_Position"))
    ticking.source.idle()
    ticking.source.idle()
    assert len(ticking.follower.history("write", "Goal_Position")) == before + 2


def test_a_robot_is_moved_outside_a_tick_by_what_is_chosen_from_an_observation(ticking: Ticking) -> None:
    before = len(ticking.follower.history("write", "Goal_Position"))
    seen: list[dict[str, Any]] = []

    def choose(observation: dict[str, Any]) -> dict[str, Any]:
        seen.append(observation)
        return dict.fromkeys(observation, 0.0)

    ticking.source.send(choose)
    np.testing.assert_array_equal(np.array(list(seen[0].values()), np.float32), ticking.last_read("follower"))
    assert len(ticking.follower.history("write", "Goal_Position")) == before + 1


def test_a_silent_follower_is_flagged_twice_and_then_ends_it(ticking: Ticking) -> None:
    state = ticking.tick()["observation.state"]
    ticking.fail(ticking.follower, next={"silence": 2})
    for _ in range(2):
        row = ticking.tick()
        assert row["robot_read_failed"]
        assert not row["teleop_read_failed"]
        np.testing.assert_array_equal(row["observation.state"], state)
    assert not ticking.tick()["robot_read_failed"]
    ticking.fail(ticking.follower, silence=1.0)
    ticking.tick()
    ticking.tick()
    with pytest.raises(SourceError, match=r"read of the robot failed 3 times in a row"):
        ticking.tick()
    ticking.fail(ticking.follower)


def test_a_silent_leader_holds_the_last_action(ticking: Ticking) -> None:
    action = ticking.tick()["action"]
    ticking.fail(ticking.leader, next={"silence": 1})
    row = ticking.tick()
    assert row["teleop_read_failed"]
    np.testing.assert_array_equal(row["action"], action)
    row = ticking.tick()
    assert not row["teleop_read_failed"]
    np.testing.assert_array_equal(row["action"], ticking.last_read("leader"))


def test_a_late_answer_is_not_taken_for_the_next_one(ticking: Ticking) -> None:
    ticking.tick()
    ticking.fail(ticking.leader, next={"late": 1}, late_s=0.15)
    assert ticking.tick()["teleop_read_failed"]
    # What came too late is in the buffer by now.
    ticking.source._clock.sleep_until_ns(ticking.source._clock.now_ns() + 200_000_000)
    for _ in range(3):
        row = ticking.tick()
        assert not row["teleop_read_failed"]
        np.testing.assert_array_equal(row["action"], ticking.last_read("leader"))


def test_a_corrupt_answer_is_asked_for_again_within_the_tick(ticking: Ticking) -> None:
    ticking.tick()
    ticking.fail(ticking.follower, next={"checksum": 1})
    row = ticking.tick()
    assert not row["robot_read_failed"]
    np.testing.assert_array_equal(row["observation.state"], ticking.last_read("follower"))


def test_an_arm_that_is_not_calibrated_is_refused_untouched(link: Link) -> None:
    with arms("--uncalibrated") as (follower, leader):
        with pytest.raises(UsageError, match=r"run lerobot-calibrate with the same --robot\.\* flags first"):
            connected(follower, leader, link)
        assert set(follower.torque().values()) == {0}
        assert not any(1 in written.values() for written in follower.history("write", "Torque_Enable"))
        assert follower.history("write", "Goal_Position") == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--robot.type=so101_follower", "--robot.port=x"], "without --teleop.type"),
        (["--robot.type=no_such_robot"], "no_such_robot"),
        (["--robot.type=so101_follower", "--robot.no_such_flag=1", "--teleop.type=so101_leader"], "no_such_flag"),
        (["--robot.discover_packages_path=no_such_package"], "no_such_package"),
        (
            [
                "--robot.type=so101_follower",
                "--robot.port=x",
                "--robot.cameras={front: {type: opencv, index_or_path: 0}}",
                "--teleop.type=so101_leader",
                "--teleop.port=y",
            ],
            "width",
        ),
    ],
)
def test_flags_that_lerobot_does_not_take_are_refused_in_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("on_fault", "torque"), [("release", 0), ("hold", 1)])
def test_a_disconnect_that_fails_half_way_is_handed_over_to_the_guardian(on_fault: str, torque: int) -> None:
    ours, theirs = Link.pair()
    for _ in range(ATTEMPTS):
        theirs.send({"guarded": True})
    with arms() as (follower, leader):
        source = connected(follower, leader, ours, on_fault)
        guard = None
        while select.select([theirs.fileno()], [], [], 0)[0]:
            message, fds = theirs.receive() or ({}, [])
            guard = (message["guard"], fds) if "guard" in message else guard
        assert guard is not None
        follower.ask("faults", silence=1.0, ids=[2], instructions=["write"])
        source.close()
        follower.ask("faults")
        assert follower.torque() == {1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 1}

        # Nobody has ended: this process holds no port any more, and the guardian need not wait for its death.
        own = os.pidfd_open(os.getpid())
        guardian, link = spawn("control.guardian", guard[0], [own, own, *guard[1]])
        assert guardian.wait(30) == 0
        assert set(follower.torque().values()) == {torque}
    for end in (ours, theirs, link):
        end.close()


def test_a_failed_session_that_holds_never_lets_go(link: Link) -> None:
    with arms() as (follower, leader):
        source = connected(follower, leader, link, "hold")
        since = follower.next_number()
        source.close(failed=True)
        assert follower.history("write", "Torque_Enable", since) == []
        assert set(follower.torque().values()) == {1}

"""Each process killed in turn: the session goes on, or the emulated follower is left as --robot.on_fault says.

The follower's torque is first put into the opposite state, so that the register shows the guardian's work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import arm_session
import onbeat_process as run
import outcome
import pytest
import untrained_policy

from scripts.drills.taps import Tap
from scripts.emulators.rig import Rig
from transport.link import spawn

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(400)]

# A slow beat leaves a bus on a busy machine the time to answer.
FPS = 10
WANTED = {"hold": 1, "release": 0}
# Promised is 1 s; what a busy machine adds is not the guardian's.
LIMIT_S = 3.0
MAX_TICK_S = 1.0
# What the supervisor adds to it: its turn, and a last chance for control.
ASKED_S = 1.5
# A teleoperator's process that has said nothing for so long has failed.
SILENT_S = 0.5
MAX_HELD_S = 1
# What a busy machine adds while the new keeper's spare process imports what cameras need.
IMPORTING_S = 3.0


@dataclass
class Recording:
    """A session that records."""

    process: run.OnbeatProcess
    tap: Tap
    rig: Rig
    on_fault: str
    root: Path

    def make_opposite(self) -> None:
        opposite = 1 - WANTED[self.on_fault]
        for motor in self.rig.follower.torque():
            self.rig.follower.ask("put", id=motor, name="Torque_Enable", value=opposite)

    def strike(self, module: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process; returns the time, CLOCK_MONOTONIC in ns."""
        pid = self.process.pid if module == "supervisor" else self.process.pid_of(module)
        os.kill(pid, number)
        return time.monotonic_ns()

    def assert_ticks_on(self) -> None:
        self.tap.wait_frames(self.tap.published + 3)
        assert self.process.find("control.process") is not None

    def assert_left_as_configured(self, since: int, struck_ns: int, limit_s: float = LIMIT_S) -> None:
        wanted, arm = WANTED[self.on_fault], self.rig.follower
        deadline_s = time.monotonic() + limit_s + 10
        while set(arm.torque().values()) != {wanted}:
            assert time.monotonic() < deadline_s, f"{arm.torque()}\n{self.process.output}"
            threading.Event().wait(0.01)
        writes = arm.accesses("write", "Torque_Enable", since)
        done_ns = max(next(w.time_ns for w in writes if w.values.get(motor) == wanted) for motor in arm.torque())
        assert (done_ns - struck_ns) / 1e9 < limit_s
        print(f"{self.on_fault}: after {(done_ns - struck_ns) / 1e6:.0f} ms")
        assert set(arm.registers("Lock").values()) == {wanted}


@contextlib.contextmanager
def recording(rig: Rig, on_fault: str, home: Path, *more: str, num_episodes: int = 1) -> Iterator[Recording]:
    """Begin an episode, again from the start when the machine stood still."""
    flags = arm_session.dataset_flags(
        rig, num_episodes=num_episodes, episode_time_s=300, **{"rgb_encoder.vcodec": "h264"}
    )
    for attempt in range(arm_session.ATTEMPTS):
        ours = [f"--robot.on_fault={on_fault}", "--writer.allow_slow=true", *more]
        where = (
            []
            if any(flag.startswith("--writer.address") for flag in more)
            else [f"--dataset.root={home / 'ds'}{attempt}"]
        )
        with run.OnbeatProcess([run.ONBEAT, "record", *flags, *ours, *where], home) as process:
            try:
                tap = Tap(process.pid_of("control.process"), FPS)
                tap.wait_frames(3, limit_s=90)
                process.wait_for("state: recording")
            except AssertionError:
                assert arm_session.starved(process, process.finish())
                continue
            yield Recording(process, tap, rig, on_fault, home / f"ds{attempt}")
            return
    raise AssertionError(f"the machine stood still {arm_session.ATTEMPTS} times:\n{process.output}")


@pytest.fixture(scope="module")
def bare_rig() -> Iterator[Rig]:
    with arm_session.short_rig(fps=FPS, width=160, height=120, cameras=()) as rig:
        yield rig


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a writer that throws everything away, as a flag: these tests are about the arm."""
    address = f"ipc://@onbeat-test-{os.getpid()}-{time.monotonic_ns()}"
    process, link = spawn("control.load_sink", {"address": address, "numbered": False})
    assert link.receive(timeout_s=30) is not None
    yield f"--writer.address={address}"
    process.kill()
    process.wait()
    link.close()


@pytest.mark.parametrize(
    ("on_fault", "struck"),
    [
        ("release", ("control.process",)),
        ("hold", ("supervisor",)),
        ("release", ("supervisor",)),
        ("hold", ("control.guardian", "control.process")),
        pytest.param("hold", ("control.process",), marks=pytest.mark.acceptance),
        pytest.param("release", ("control.guardian", "control.process"), marks=pytest.mark.acceptance),
    ],
)
def test_arm_is_left_as_configured(
    bare_rig: Rig, nowhere: str, tmp_path: Path, on_fault: str, struck: tuple[str, ...]
) -> None:
    with recording(bare_rig, on_fault, tmp_path, nowhere) as session:
        session.make_opposite()
        since = bare_rig.follower.next_number()
        for module in struck:
            struck_ns = session.strike(module)
        session.assert_left_as_configured(since, struck_ns)
        if struck != ("supervisor",):
            assert session.process.finish() == 1, session.process.output
        session.process.drain()


@pytest.mark.parametrize("on_fault", ["hold", pytest.param("release", marks=pytest.mark.acceptance)])
def test_a_bus_that_fails_ends_the_session_and_leaves_the_arm_as_configured(
    bare_rig: Rig, nowhere: str, tmp_path: Path, on_fault: str
) -> None:
    with recording(bare_rig, on_fault, tmp_path, nowhere) as session:
        session.make_opposite()
        since = bare_rig.follower.next_number()
        bare_rig.follower.ask("faults", silence=1.0)
        session.process.wait_for("the read of the robot failed 3 times in a row")
        struck_ns = time.monotonic_ns()
        bare_rig.follower.ask("faults")
        session.assert_left_as_configured(since, struck_ns)
        assert session.process.finish() == 1, session.process.output


@pytest.mark.parametrize("on_fault", ["release", pytest.param("hold", marks=pytest.mark.acceptance)])
def test_stopped_control_is_ended_by_the_watchdog(bare_rig: Rig, nowhere: str, tmp_path: Path, on_fault: str) -> None:
    with recording(bare_rig, on_fault, tmp_path, nowhere, f"--timing.max_tick_s={MAX_TICK_S}") as session:
        session.make_opposite()
        since = bare_rig.follower.next_number()
        struck_ns = session.strike("control.process", signal.SIGSTOP)
        session.assert_left_as_configured(since, struck_ns, MAX_TICK_S + ASKED_S + LIMIT_S)
        assert session.process.finish() == 1
        session.process.wait_for(r"the control process has not ticked for 1\.\d s and is ended", 0)


@pytest.mark.parametrize("on_fault", ["release", "hold"])
def test_a_dead_teleoperators_process_ends_the_session(
    bare_rig: Rig, nowhere: str, tmp_path: Path, on_fault: str
) -> None:
    with recording(bare_rig, on_fault, tmp_path, nowhere, "--teleop.proxy=true") as session:
        session.make_opposite()
        since = bare_rig.follower.next_number()
        struck_ns = session.strike("control.teleop_process")
        session.assert_left_as_configured(since, struck_ns, SILENT_S + LIMIT_S)
        assert session.process.finish() == 1, session.process.output
        session.process.wait_for(r"said nothing for \d+\.\d s, its process has ended", 0)


def test_a_publisher_that_keeps_dying_ends_the_session_at_once(bare_rig: Rig, nowhere: str, tmp_path: Path) -> None:
    with recording(bare_rig, "hold", tmp_path, nowhere) as session:
        session.make_opposite()
        since = bare_rig.follower.next_number()
        killed: list[int] = []
        while len(killed) < 10:
            pid = session.process.pid_of("transport.publisher")
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        session.assert_left_as_configured(since, time.monotonic_ns())
        assert session.process.finish() == 1, session.process.output
        session.process.wait_for("publisher ended 10 times within a minute", 0)
        # Not killed: it has ended its episode itself.
        session.process.wait_for("! ended by SIGTERM", 0)


@pytest.mark.acceptance
@pytest.mark.parametrize("on_fault", ["release", "hold"])
def test_a_dead_policys_process_ends_the_session_after_the_held_frames(
    nowhere: str, tmp_path: Path, on_fault: str
) -> None:
    policy = untrained_policy.make(tmp_path / "policy", width=128, height=96)
    flags = (nowhere, f"--policy.path={policy}", f"--policy.max_held_s={MAX_HELD_S}")
    with (
        arm_session.short_rig(fps=FPS, width=128, height=96, cameras=("front",)) as rig,
        recording(rig, on_fault, tmp_path, *flags) as session,
    ):
        session.make_opposite()
        since = rig.follower.next_number()
        struck_ns = session.strike("control.policy_process")
        session.process.wait_for("the policy's process ended with code -9; holding")
        session.assert_ticks_on()
        session.assert_left_as_configured(since, struck_ns, MAX_HELD_S + LIMIT_S)
        assert session.process.finish() == 1, session.process.output


@pytest.mark.parametrize("on_fault", ["hold", pytest.param("release", marks=pytest.mark.acceptance)])
def test_session_goes_on_without_any_other_process(tmp_path: Path, on_fault: str) -> None:
    pedal = tmp_path / "pedal"
    os.mkfifo(pedal)
    foot = os.open(pedal, os.O_RDWR)
    with (
        contextlib.closing(os.fdopen(foot, "wb", 0)),
        arm_session.short_rig(fps=FPS, width=160, height=120, cameras=("front",)) as rig,
        recording(rig, on_fault, tmp_path, f"--keys.devices=[{pedal}]", num_episodes=3) as session,
    ):
        for module, said in (
            ("control.guardian", "guardian ended with code -9 and was started again"),
            ("transport.publisher", "publisher ended with code -9 and was started again"),
            ("writer.ingest", "writer.ingest ended with code -9; starting it again"),
            ("writer.committer", "writer.committer ended with code -9; starting it again"),
            ("writer.local", "writer ended with code -9 and was started again"),
            ("control.camera_process", "camera front: its process ended with code -9"),
            ("control.camera_keeper", ""),
        ):
            session.strike(module)
            session.process.wait_for(said)
            session.assert_ticks_on()
        for take in (1, 2):
            # The cameras have died with their keeper: the next episode waits for them.
            run.step_on(foot, "KEY_B")
            session.process.wait_for(rf"state: recording .*\(take {take}\)")
            session.assert_ticks_on()
        session.process.wait_for("the keeper of the cameras has died; it is started again", 0)
        session.make_opposite()
        since = rig.follower.next_number()
        struck_ns = session.strike("control.process")
        session.assert_left_as_configured(since, struck_ns, LIMIT_S + IMPORTING_S)
        assert session.process.finish() == 1, session.process.output
    stale = [outcome.telemetry(session.root, episode)["cameras.front.stale"].ravel() for episode in (0, 1)]
    assert stale[0][-1]
    assert not stale[1][0]

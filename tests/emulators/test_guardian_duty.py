"""The guardian's process on an emulated bus; a process that sleeps stands in for control."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import scservo_sdk
from lerobot.robots import make_robot_from_config
from lerobot.robots.so_follower import SO101FollowerConfig

from control.guarded import Guard, GuardedBus, GuardedMotor, OwnRobotFlags
from control.guardian import await_fault
from control.lerobot_guard import GuardedRobot, guarded_buses
from control.torque import TorqueSwitch
from scripts.emulators.feetech.arm import EmulatedArm
from transport.errors import OnbeatError, UsageError
from transport.link import Link, spawn

pytestmark = pytest.mark.serial

LIMIT_S = 30
MOTORS = tuple(range(1, 7))
WHEEL = 3
OFF, ON = dict.fromkeys(MOTORS, 0), dict.fromkeys(MOTORS, 1)


def bus_of(arm: EmulatedArm) -> GuardedBus:
    motors = [
        GuardedMotor(motor, 40, 55, 33, position=56, goal=42, position_bytes=2, holds_in=(0, 3)) for motor in MOTORS
    ]
    return GuardedBus("scservo_sdk", arm.port, 1_000_000, 0, motors)


def sleeper() -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return process, os.pidfd_open(process.pid)


@dataclass
class Scene:
    """A follower, something that sleeps in control's place, and its two words to the guardian."""

    arm: EmulatedArm
    control: subprocess.Popen[bytes]
    pidfd: int
    released: int
    handed_over: int
    undo: contextlib.ExitStack

    def guardian(self, *, hold: bool) -> tuple[subprocess.Popen[bytes], Link]:
        own = os.pidfd_open(os.getpid())
        fds = [self.pidfd, own, self.released, self.handed_over]
        process, link = spawn("control.guardian", {"buses": [bus_of(self.arm).to_wire()], "hold": hold}, fds)
        self.undo.callback(link.close)
        received = link.receive(timeout_s=LIMIT_S)
        assert received is not None
        assert received[0] == {"watching": True}
        os.close(own)
        return process, link

    def leave_an_answer_unread(self) -> None:
        """As control does that is killed between request and answer."""
        port = scservo_sdk.PortHandler(self.arm.port)
        assert port.openPort()
        scservo_sdk.PacketHandler(0).readTx(port, 1, 40, 1)
        assert select.select([port.ser.fileno()], [], [], LIMIT_S)[0]
        port.closePort()

    def put(self, name: str, values: dict[int, int]) -> None:
        for motor, value in values.items():
            self.arm.ask("put", id=motor, name=name, value=value)


@pytest.fixture
def scene(bench: Path) -> Iterator[Scene]:
    control, pidfd = sleeper()
    words = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    with contextlib.ExitStack() as undo, EmulatedArm("follower", bench) as arm:
        yield Scene(arm, control, pidfd, *words, undo)
    control.kill()
    control.wait()
    for fd in (pidfd, *words):
        os.close(fd)


def said(link: Link) -> str:
    received = link.receive(timeout_s=LIMIT_S)
    assert received is not None
    (text,) = received[0].values()
    return str(text)


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("fault", ["killed", "handed over"])
def test_a_fault_leaves_every_motor_as_configured(scene: Scene, hold: bool, fault: str) -> None:
    wanted, opposite = (ON, OFF) if hold else (OFF, ON)
    process, link = scene.guardian(hold=hold)
    scene.put("Torque_Enable", opposite)
    scene.leave_an_answer_unread()
    process.send_signal(signal.SIGTERM)  # a service manager that ends everything at once
    if fault == "killed":
        scene.control.kill()
    else:
        os.eventfd_write(scene.handed_over, 1)
    assert process.wait(LIMIT_S) == 0
    assert scene.arm.torque() == wanted
    assert scene.arm.registers("Lock") == wanted
    assert f"the robot was {'held' if hold else 'released'} by the guardian" in said(link)


def test_a_robot_released_in_order_is_left_alone(scene: Scene) -> None:
    process, _ = scene.guardian(hold=True)
    os.eventfd_write(scene.released, 1)
    scene.control.kill()
    assert process.wait(LIMIT_S) == 0
    assert scene.arm.history("write", "Torque_Enable") == []


def test_a_guardian_started_after_the_fault_does_its_duty(scene: Scene) -> None:
    first, _ = scene.guardian(hold=True)
    first.kill()
    scene.control.kill()
    first.wait()
    second, _ = scene.guardian(hold=True)
    assert second.wait(LIMIT_S) == 0
    assert scene.arm.torque() == ON


def test_a_motor_that_would_turn_for_ever_is_released_under_hold_too(scene: Scene) -> None:
    scene.put("Operating_Mode", {WHEEL: 1})
    scene.put("Torque_Enable", OFF | {WHEEL: 1})
    process, _ = scene.guardian(hold=True)
    scene.control.kill()
    assert process.wait(LIMIT_S) == 0
    assert scene.arm.torque() == ON | {WHEEL: 0}


def test_motors_without_torque_are_held_where_they_stand_and_not_where_they_were_to_go(scene: Scene) -> None:
    stand, goals = scene.arm.registers("Present_Position"), dict.fromkeys(MOTORS, 1000)
    fallen = (2, 5)
    scene.put("Goal_Position", goals)
    scene.put("Torque_Enable", ON | dict.fromkeys(fallen, 0))
    since = scene.arm.next_number()
    process, _ = scene.guardian(hold=True)
    scene.control.kill()
    assert process.wait(LIMIT_S) == 0
    assert scene.arm.torque() == ON
    assert scene.arm.history("write", "Goal_Position", since) == [{motor: stand[motor]} for motor in fallen]


@pytest.mark.parametrize(("hold", "word"), [(True, "held"), (False, "released")])
def test_mute_motors_lose_torque_but_get_none_before_they_say_where_they_stand(
    scene: Scene, hold: bool, word: str
) -> None:
    scene.put("Torque_Enable", OFF if hold else ON)
    scene.arm.ask("faults", silence=1.0)
    process, link = scene.guardian(hold=hold)
    scene.control.kill()
    assert f"cannot be {word} yet" in (text := said(link))
    assert "no answer from motors 1, 2, 3, 4, 5, 6" in text
    assert scene.arm.torque() == OFF
    scene.arm.ask("faults")
    assert process.wait(LIMIT_S) == 0
    assert scene.arm.torque() == (ON if hold else OFF)
    assert f"the robot was {word}" in said(link)


def test_an_adapter_that_drops_out_between_two_attempts_is_no_end(bench: Path) -> None:
    with EmulatedArm("follower", bench) as arm:
        switch = TorqueSwitch(bus_of(arm), on=False)
        assert switch.attempt(), switch.trouble
        # As when it has not answered yet.
        switch.left = list(bus_of(arm).motors)
    assert not switch.attempt()
    assert "Input/output error" in switch.trouble
    assert not switch.attempt()


def test_a_stuck_control_is_ended_when_nobody_supervises_it() -> None:
    (control, control_fd), (supervisor, supervisor_fd) = sleeper(), sleeper()
    words = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    control.send_signal(signal.SIGSTOP)
    supervisor.kill()
    supervisor.wait()
    began_s = time.monotonic()
    assert await_fault(control_fd, supervisor_fd, *words, orphan_limit_s=0.2)
    assert time.monotonic() - began_s >= 0.2
    assert control.wait(LIMIT_S) == -signal.SIGKILL
    for fd in (control_fd, supervisor_fd, *words):
        os.close(fd)


# -- control's side --------------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    ours, theirs = Link.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_lerobots_follower_has_the_registers_that_the_emulator_has(scene: Scene) -> None:
    robot = make_robot_from_config(SO101FollowerConfig(port=scene.arm.port, id="follower"))
    (found,) = guarded_buses(robot)
    assert found == bus_of(scene.arm)
    assert GuardedBus.from_wire(found.to_wire()) == found


def test_a_robot_without_torque_registers_is_said_to_be_unguarded(ends: tuple[Link, Link]) -> None:
    GuardedRobot(SimpleNamespace(bus=SimpleNamespace()), ends[0], "hold")
    assert "--robot.on_fault=hold cannot be kept" in said(ends[1])


def test_control_goes_no_further_without_a_guardian(ends: tuple[Link, Link], scene: Scene) -> None:
    ends[1].send({"refused": "the guardian ended with code 1"})
    with pytest.raises(OnbeatError, match="the guardian ended with code 1"):
        Guard(ends[0], [bus_of(scene.arm)], "hold")
    ends[1].close()
    with pytest.raises(OnbeatError, match="ended before the robot was guarded"):
        Guard(ends[0], [bus_of(scene.arm)], "hold")


def test_on_fault_is_one_of_two() -> None:
    with pytest.raises(UsageError, match=r"on_fault=drop found, expected release or hold"):
        OwnRobotFlags("drop").check()

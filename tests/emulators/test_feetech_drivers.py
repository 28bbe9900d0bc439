"""lerobot's own SO-101 drivers on the emulated bus."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import driver_units
import pytest
from lerobot.motors.feetech import FeetechMotorsBus
from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig
from lerobot.teleoperators.so_leader import SO101Leader, SO101LeaderConfig

from scripts.emulators.feetech import so101
from scripts.emulators.feetech.arm import EmulatedArm

pytestmark = pytest.mark.serial


IDS = range(1, 7)
PATIENCE_MS = 500
TIME_CONSTANT_S = 0.05
LIMIT_S = 30


@pytest.fixture(autouse=True)
def no_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prompt: str = "") -> str:
        raise AssertionError(f"the driver asks: {prompt}")

    monkeypatch.setattr("builtins.input", refuse)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver waits 50 ms for an answer, less than a busy machine may keep the emulator from running."""

    def set_timeout(port: Any, length: int) -> None:
        port.packet_start_time = port.getCurrentTime()
        port.packet_timeout = PATIENCE_MS

    monkeypatch.setattr("lerobot.motors.feetech.feetech.patch_setPacketTimeout", set_timeout)


@pytest.fixture
def arm(bench: Path) -> Iterator[EmulatedArm]:
    with EmulatedArm("follower", bench, f"--time_constant_s={TIME_CONSTANT_S}") as arm:
        yield arm


def make_follower(arm: EmulatedArm, **settings: Any) -> SO101Follower:
    return SO101Follower(
        SO101FollowerConfig(port=arm.port, id=arm.name, calibration_dir=arm.calibration_dir, **settings)
    )


@pytest.fixture
def follower(arm: EmulatedArm) -> Iterator[SO101Follower]:
    follower = make_follower(arm)
    follower.connect()
    yield follower
    arm.ask("faults")
    if follower.is_connected:
        follower.disconnect()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.02)


def goal(value: float) -> dict[str, float]:
    return {f"{joint}.pos": value for joint in so101.JOINTS}


def test_the_follower_connects_without_a_prompt_and_reads_its_joints(arm: EmulatedArm, follower: SO101Follower) -> None:
    assert follower.is_calibrated
    observation = follower.get_observation()
    (steps,) = arm.history("read", "Present_Position")
    assert observation == pytest.approx({f"{name}.pos": v for name, v in driver_units.units("follower", steps).items()})
    assert arm.torque() == dict.fromkeys(IDS, 1)
    assert arm.registers("P_Coefficient") == dict.fromkeys(IDS, 16)
    assert arm.registers("Max_Torque_Limit") == {**dict.fromkeys(IDS, 1000), 6: 500}
    assert arm.registers("Phase")[1] & 0x10 == 0


def test_the_follower_goes_where_it_is_sent_as_a_motor_would(arm: EmulatedArm, follower: SO101Follower) -> None:
    follower.get_observation()
    sent = follower.send_action(goal(20.0))
    wait_for(lambda: abs(follower.get_observation()["elbow_flex.pos"] - 20) < 0.2)
    assert sent == goal(20.0)

    accesses = arm.ask("history")["accesses"]
    begin = next(i for i, each in enumerate(accesses) if each["register"] == "Goal_Position")
    start, written = accesses[begin - 1]["values"], accesses[begin]
    wanted = driver_units.steps("follower", dict.fromkeys(so101.JOINTS, 20.0))
    assert {int(number): value for number, value in written["values"].items()} == {
        number: int(value) for number, value in wanted.items()
    }
    reads = [each for each in accesses[begin:] if each["register"] == "Present_Position"]
    assert reads
    for read in reads:
        left = math.exp(-(read["time_ns"] - written["time_ns"]) / 1e9 / TIME_CONSTANT_S)
        for number in map(str, IDS):
            end = written["values"][number]
            assert read["values"][number] == pytest.approx(end + (start[number] - end) * left, abs=1)


@pytest.mark.parametrize("disable", [True, False])
def test_disconnecting_leaves_torque_as_configured(arm: EmulatedArm, disable: bool) -> None:
    follower = make_follower(arm, disable_torque_on_disconnect=disable)
    follower.connect()
    follower.disconnect()
    assert arm.torque() == dict.fromkeys(IDS, 0 if disable else 1)


def test_the_leader_plays_with_its_torque_off(bench: Path) -> None:
    with EmulatedArm("leader", bench, "--swing_period_s=1") as arm:
        leader = SO101Leader(SO101LeaderConfig(port=arm.port, id=arm.name, calibration_dir=arm.calibration_dir))
        leader.connect()
        assert arm.torque() == dict.fromkeys(IDS, 0)
        actions: list[dict[str, float]] = []

        def has_swung() -> bool:
            actions.append(leader.get_action())
            return all(
                max(each[f"{joint}.pos"] for each in actions) - min(each[f"{joint}.pos"] for each in actions) > 10
                for joint in so101.JOINTS
            )

        wait_for(has_swung)
        reads = arm.history("read", "Present_Position")
        leader.disconnect()
    assert len(reads) == len(actions)
    for action, steps in zip(actions, reads, strict=True):
        expected = {f"{name}.pos": value for name, value in driver_units.units("leader", steps).items()}
        assert action == pytest.approx(expected)


def test_a_calibration_written_while_the_eeprom_is_locked_is_gone_with_the_power(
    bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": prompts.append(prompt) or "")
    calibrated = {joint.servo_id: joint.homing_offset for joint in so101.joints("follower").values()}
    with EmulatedArm("follower", bench, "--uncalibrated") as arm:
        follower = make_follower(arm)
        follower.connect()
        assert len(prompts) == 1
        assert "Press ENTER to use provided calibration" in prompts[0]
        assert arm.registers("Homing_Offset") == calibrated
        # connect() wrote it before anything had unlocked the EEPROM.
        arm.ask("cycle_power")
        assert arm.registers("Homing_Offset") == dict.fromkeys(IDS, 0)
        follower.bus.disable_torque()
        follower.bus.write_calibration(follower.calibration)
        arm.ask("cycle_power")
        assert arm.registers("Homing_Offset") == calibrated
        follower.disconnect()


@pytest.mark.parametrize(
    ("fault", "message"), [("silence", "There is no status packet"), ("checksum", "Incorrect status packet")]
)
def test_a_fault_on_the_bus_is_the_drivers_own_error(
    arm: EmulatedArm, follower: SO101Follower, fault: str, message: str
) -> None:
    arm.ask("faults", next={fault: 1})
    with pytest.raises(ConnectionError, match=message):
        follower.bus.sync_read("Present_Position")
    assert follower.get_observation().keys() == goal(0).keys()
    # get_observation asks three times.
    arm.ask("faults", next={fault: 2})
    follower.get_observation()
    arm.ask("faults", **{fault: 1.0}, ids=[4])
    with pytest.raises(ConnectionError, match=message):
        follower.get_observation()
    assert arm.ask("counts")["counts"][fault] == 6


def test_a_late_answer_leaves_the_driver_one_read_behind(arm: EmulatedArm, follower: SO101Follower) -> None:
    arm.ask("faults", next={"late": 1}, late_s=2 * PATIENCE_MS / 1000)
    with pytest.raises(ConnectionError, match="There is no status packet"):
        follower.bus.sync_read("Present_Position")
    wait_for(lambda: follower.bus.port_handler.getBytesAvailable() == 6 * 8)
    follower.send_action(goal(20.0))
    # A sync write has no answer: the emulator may still have it to read, and the servos stand before it.
    wait_for(lambda: len(arm.history("write", "Goal_Position")) == 1)
    wait_for(lambda: arm.registers("Moving") == dict.fromkeys(IDS, 0))

    # The driver never discards what it did not wait for: this is the answer to the read that failed.
    assert follower.get_observation()["elbow_flex.pos"] == pytest.approx(0, abs=1)
    wait_for(lambda: follower.bus.port_handler.getBytesAvailable() == 6 * 8)
    follower.bus.port_handler.ser.reset_input_buffer()
    assert follower.get_observation()["elbow_flex.pos"] == pytest.approx(20, abs=1)


def test_a_servo_in_distress_fails_single_reads_and_goes_unnoticed_in_sync_reads(
    arm: EmulatedArm, follower: SO101Follower
) -> None:
    arm.ask("put", id=3, name="Status", value=32)
    assert follower.get_observation().keys() == goal(0).keys()
    with pytest.raises(RuntimeError, match="Overload error"):
        follower.bus.read("Present_Temperature", "elbow_flex")
    arm.ask("put", id=3, name="Status", value=0)


def test_a_servo_off_the_bus_is_missed_at_the_handshake(bench: Path) -> None:
    with EmulatedArm("follower", bench, "--motors=5") as arm, pytest.raises(RuntimeError, match="Missing motor IDs"):
        make_follower(arm).connect()


def test_a_scan_finds_every_servo_at_its_speed_and_no_other(arm: EmulatedArm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeetechMotorsBus, "available_baudrates", [500_000, 1_000_000])
    assert FeetechMotorsBus.scan_port(arm.port) == {1_000_000: list(IDS)}


def test_an_emulator_that_is_gone_is_an_error_of_the_port(arm: EmulatedArm) -> None:
    follower = make_follower(arm)
    arm.close()
    with pytest.raises(ConnectionError, match="Could not connect on port"):
        follower.connect()

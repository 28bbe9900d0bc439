from __future__ import annotations

import math

import pytest

from scripts.emulators.feetech import so101
from scripts.emulators.feetech.registers import REGISTERS
from scripts.emulators.feetech.servo import Servo

NS = 1_000_000_000
TIME_CONSTANT_S = 0.05


def make_servo(**eeprom: int) -> Servo:
    return Servo({"Phase": 0, **eeprom}, encoder=2000, time_constant_s=TIME_CONSTANT_S)


def write(servo: Servo, name: str, value: int, now_ns: int = 0) -> None:
    servo.write(REGISTERS[name].address, REGISTERS[name].encode(value), now_ns)


def test_the_control_table_is_the_drivers() -> None:
    from lerobot.motors.feetech.tables import STS_SMS_SERIES_CONTROL_TABLE, STS_SMS_SERIES_ENCODINGS_TABLE

    for name, register in REGISTERS.items():
        assert (register.address, register.size) == STS_SMS_SERIES_CONTROL_TABLE[name], name
        assert register.sign_bit == STS_SMS_SERIES_ENCODINGS_TABLE.get(name), name


@pytest.mark.parametrize("elapsed_s", [0.0, 0.01, TIME_CONSTANT_S, 0.2, 2.0])
def test_the_shaft_nears_the_goal_with_its_time_constant(elapsed_s: float) -> None:
    servo = make_servo()
    write(servo, "Torque_Enable", 1)
    write(servo, "Goal_Position", 3000, NS)
    expected = 3000 - 1000 * math.exp(-elapsed_s / TIME_CONSTANT_S)
    now_ns = NS + round(elapsed_s * NS)
    assert servo.value("Present_Position", now_ns) == round(expected)
    # A goal changed on the way starts from where the shaft is.
    write(servo, "Goal_Position", 1000, now_ns)
    assert servo.encoder(now_ns) == pytest.approx(expected)


def test_without_torque_a_goal_moves_nothing_and_torque_holds_where_it_finds_the_shaft() -> None:
    servo = make_servo()
    write(servo, "Goal_Position", 3000)
    assert servo.value("Present_Position", NS) == 2000
    write(servo, "Torque_Enable", 1, NS)
    assert servo.value("Present_Position", 5 * NS) == 2000
    assert servo.value("Goal_Position", 5 * NS) == 2000


def test_cutting_torque_leaves_the_shaft_on_its_way() -> None:
    servo = make_servo()
    write(servo, "Torque_Enable", 1)
    write(servo, "Goal_Position", 3000)
    now_ns = round(TIME_CONSTANT_S * NS)
    write(servo, "Torque_Enable", 0, now_ns)
    assert servo.value("Present_Position", 60 * NS) == round(3000 - 1000 / math.e)


@pytest.mark.parametrize(("goal", "reached"), [(3500, 3000), (500, 1500), (2222, 2222)])
def test_limits_hold_the_shaft_and_keep_the_goal_as_written(goal: int, reached: int) -> None:
    servo = make_servo(Homing_Offset=-300, Min_Position_Limit=1500, Max_Position_Limit=3000)
    write(servo, "Torque_Enable", 1)
    write(servo, "Goal_Position", goal)
    assert servo.value("Present_Position", 60 * NS) == reached
    assert servo.encoder(60 * NS) == pytest.approx(reached - 300)
    assert servo.value("Goal_Position", 60 * NS) == goal


@pytest.mark.parametrize(("phase", "position"), [(0, 2000 - 2047 + 4096), (0x10, 2000 - 2047)])
def test_the_position_wraps_unless_turns_are_counted(phase: int, position: int) -> None:
    servo = make_servo(Homing_Offset=2047, Phase=phase)
    assert servo.value("Present_Position", 0) == position


@pytest.mark.parametrize(("lock", "kept"), [(0, 2900), (1, 3000)])
def test_only_what_is_written_unlocked_outlasts_the_power(lock: int, kept: int) -> None:
    servo = make_servo(Max_Position_Limit=3000)
    write(servo, "Lock", lock)
    write(servo, "Torque_Enable", 1)
    write(servo, "Max_Position_Limit", 2900)
    assert servo.value("Max_Position_Limit", 0) == 2900
    servo.cycle_power(NS)
    assert servo.value("Max_Position_Limit", NS) == kept
    assert servo.value("Torque_Enable", NS) == 0
    assert servo.value("Lock", NS) == 1


def test_what_the_servo_measures_cannot_be_written_by_a_host() -> None:
    servo = make_servo()
    for name in ("Present_Position", "Status", "Model_Number"):
        before = servo.value(name, 0)
        write(servo, name, 99)
        assert servo.value(name, 0) == before


def test_velocity_and_load_point_where_the_shaft_goes() -> None:
    servo = make_servo()
    write(servo, "Torque_Enable", 1)
    write(servo, "Goal_Position", 1000)
    now_ns = round(0.02 * NS)
    assert servo.value("Present_Velocity", now_ns) < -1000
    assert servo.value("Present_Load", now_ns) < -100
    assert servo.value("Moving", now_ns) == 1
    assert servo.value("Present_Velocity", 60 * NS) == 0
    assert servo.value("Moving", 60 * NS) == 0


def test_the_leaders_hand_stays_within_the_calibrated_ranges_and_repeats_itself() -> None:
    def swing() -> list[list[int]]:
        servos = so101.servos("leader", 6, calibrated=True, time_constant_s=0.06, swing_period_s=4.0, began_ns=7 * NS)
        for servo in servos:
            write(servo, "Phase", 0)
        return [[servo.value("Present_Position", (7 + i) * NS) for i in range(20)] for servo in servos]

    first = swing()
    assert first == swing()
    for positions, joint in zip(first, so101.joints("leader").values(), strict=True):
        assert joint.range_min < min(positions) < max(positions) < joint.range_max
        assert max(positions) - min(positions) > 100

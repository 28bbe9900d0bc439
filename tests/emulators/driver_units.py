"""What lerobot's SO-101 drivers make of encoder steps, and back, with `use_degrees` as it is by default."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.emulators.feetech import so101

_STEPS_A_TURN = 4095


def units(role: str, steps: Mapping[int, int]) -> dict[str, float]:
    """Degrees from the middle of the range, and the gripper in percent of its range, by joint."""
    values = {}
    for name, joint in so101.joints(role).items():
        raw = steps[joint.servo_id]
        span = joint.range_max - joint.range_min
        if name == "gripper":
            values[name] = (min(joint.range_max, max(joint.range_min, raw)) - joint.range_min) / span * 100
        else:
            values[name] = (raw - (joint.range_min + joint.range_max) / 2) * 360 / _STEPS_A_TURN
    return values


def steps(role: str, values: Mapping[str, float]) -> dict[int, float]:
    """The encoder steps that stand for these units, before the driver cuts off what is behind the point."""
    raw = {}
    for name, joint in so101.joints(role).items():
        if name == "gripper":
            share = min(100.0, max(0.0, values[name])) / 100
            raw[joint.servo_id] = joint.range_min + share * (joint.range_max - joint.range_min)
        else:
            raw[joint.servo_id] = values[name] * _STEPS_A_TURN / 360 + (joint.range_min + joint.range_max) / 2
    return raw

"""The two arms of an SO-101: joints, what their EEPROMs hold after a calibration, and the file that says the same."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from scripts.emulators.feetech.servo import Hand, Servo

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
ROLES = ("leader", "follower")
_NS = 1_000_000_000
_FIRST_ID = 1
# A hand swings each joint at its own pace, so that no two joints ever agree for long.
_PACE_STEP = 0.13
_SWING = 0.35


@dataclass(frozen=True, slots=True)
class Joint:
    """What a calibration finds out about one joint; positions in encoder steps after the homing offset."""

    servo_id: int
    homing_offset: int
    range_min: int
    range_max: int

    @property
    def eeprom(self) -> dict[str, int]:
        return {
            "Homing_Offset": self.homing_offset,
            "Min_Position_Limit": self.range_min,
            "Max_Position_Limit": self.range_max,
        }


# Two arms are never alike: other offsets, other ranges, and the wrist turns freely in both.
_CALIBRATIONS = {
    "leader": (
        (-812, 757, 3391),
        (1043, 809, 3218),
        (-977, 902, 3120),
        (1204, 871, 3229),
        (-35, 0, 4095),
        (655, 2014, 3210),
    ),
    "follower": (
        (364, 744, 3402),
        (-1181, 823, 3203),
        (988, 880, 3098),
        (-1467, 858, 3211),
        (27, 0, 4095),
        (-743, 2035, 3498),
    ),
}


def joints(role: str) -> dict[str, Joint]:
    """The calibrated joints of the leader or the follower, by name, in the order of their ids."""
    return {
        name: Joint(_FIRST_ID + index, *numbers)
        for index, (name, numbers) in enumerate(zip(JOINTS, _CALIBRATIONS[role], strict=True))
    }


def write_calibration(role: str, path: Path) -> None:
    """Write the file from which lerobot's driver knows that this arm is calibrated."""
    entries = {
        name: {
            "id": joint.servo_id,
            "drive_mode": 0,
            "homing_offset": joint.homing_offset,
            "range_min": joint.range_min,
            "range_max": joint.range_max,
        }
        for name, joint in joints(role).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries, indent=4))


def servos(
    role: str, count: int, *, calibrated: bool, time_constant_s: float, swing_period_s: float, began_ns: int
) -> list[Servo]:
    """The first `count` servos of an arm, at the middle of their ranges.

    Args:
        calibrated: False leaves offsets and limits as they come from the factory.
        time_constant_s: of each servo's motion.
        swing_period_s: of the leader's hand, which moves on CLOCK_MONOTONIC from `began_ns`; 0 lets the leader rest.
    """
    made = []
    for index, joint in enumerate(list(joints(role).values())[:count]):
        middle = (joint.range_min + joint.range_max) / 2 + joint.homing_offset
        hand = _swing(joint, index, swing_period_s, began_ns) if role == "leader" and swing_period_s else None
        eeprom = {"ID": joint.servo_id} | (joint.eeprom if calibrated else {})
        made.append(Servo(eeprom, middle, time_constant_s, hand))
    return made


def _swing(joint: Joint, index: int, period_s: float, began_ns: int) -> Hand:
    middle = (joint.range_min + joint.range_max) / 2 + joint.homing_offset
    reach = _SWING * (joint.range_max - joint.range_min) / 2
    turns_a_ns = (1 + _PACE_STEP * index) / (period_s * _NS)

    def encoder(now_ns: int) -> float:
        return middle + reach * math.sin(2 * math.pi * turns_a_ns * (now_ns - began_ns))

    return encoder

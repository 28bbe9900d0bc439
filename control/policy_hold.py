"""What of a robot's action stands for standing still: a position's last target, a velocity's zero.

lerobot has no declaration for it, so it is told by name: by lerobot's conventions (`shoulder_pan.pos`, `x.vel`), by the
names of its own robots where they keep to none, and else by `--policy.hold`. A name that nothing tells is refused: a
velocity taken for a position drives on for as long as the policy is late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from transport.errors import UsageError

LAST, ZERO = "last", "zero"

# Joints: lerobot's, and Unitree's. Poses: of lerobot's kinematic processors, whose w are a rotation, no velocity.
_POSITIONS = (".pos", ".q")
_POSES = frozenset(["ee.x", "ee.y", "ee.z", "ee.wx", "ee.wy", "ee.wz", "ee.gripper_pos"])
_VELOCITY = ".vel"
_VELOCITIES = frozenset(
    [
        *("linear_velocity", "angular_velocity"),  # EarthRover Mini Plus
        *("mobile_base.vx", "mobile_base.vy", "mobile_base.vtheta"),  # Reachy 2
        *(
            "remote.lx",
            "remote.ly",
            "remote.rx",
            "remote.ry",
        ),  # Unitree G1: sticks of its remote control, which walk it
    ]
)
_TORQUE = ".torque"


def stopped(names: Sequence[str], said: Mapping[str, str]) -> frozenset[str]:
    """Those of an action's elements that are 0 while it is held; the others keep their last target.

    Args:
        names: of the action's elements.
        said: by name or pattern (`base_*`), `last` or `zero`; counts before what the names say.

    Raises:
        UsageError: an element that nothing tells, or a pattern that names none, or another word.
    """
    for pattern, word in said.items():
        if word not in (LAST, ZERO):
            raise UsageError(f"--policy.hold has {pattern}: {word}, expected {LAST} or {ZERO}")
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"--policy.hold has {pattern}, which none of the action's elements is: {', '.join(names)}")
    known = {name: _said(name, said) or _told(name, names) for name in names}
    if unknown := [name for name, word in known.items() if not word]:
        raise UsageError(
            f"{', '.join(unknown)} found among the action's elements, expected names that tell a position or a "
            f"velocity; say how they are held, as in --policy.hold='{{{unknown[0]}: {LAST}}}': {LAST} for a position, "
            f"{ZERO} for a velocity"
        )
    return frozenset(name for name, word in known.items() if word == ZERO)


def _said(name: str, said: Mapping[str, str]) -> str:
    return next((word for pattern, word in said.items() if fnmatchcase(name, pattern)), "")


def _told(name: str, names: Sequence[str]) -> str:
    if name.endswith(_POSITIONS) or name in _POSES:
        return LAST
    if name.endswith(_VELOCITY) or name in _VELOCITIES:
        return ZERO
    # Beside a position of the same joint it is what is added for a movement; alone, it may be what carries an arm.
    if name.endswith(_TORQUE) and name.removesuffix(_TORQUE) + ".pos" in names:
        return ZERO
    return ""

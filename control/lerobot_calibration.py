"""lerobot's own calibration of one device, in a process that has the terminal: `SECTION FLAGS...`.

As lerobot-calibrate, but it takes the flags of a recording: both devices', plugins, and cameras that it leaves alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from lerobot.robots import make_robot_from_config
from lerobot.teleoperators import make_teleoperator_from_config
from lerobot.utils.utils import init_logging

from control.lerobot_build import RobotFlags, parse
from control.lerobot_device import one_line, release
from transport import flags
from transport.errors import OnbeatError


def main(argv: Sequence[str]) -> int:
    """Entry of the process; the exit code is 0 once the device is calibrated."""
    section, *theirs = argv
    return flags.report(lambda: _calibrate(section, theirs))


def _calibrate(section: str, argv: Sequence[str]) -> int:
    init_logging()
    device = _make(section, parse(argv, needs_teleop=False))
    try:
        device.connect(calibrate=False)
        device.calibrate()
    except KeyboardInterrupt:
        raise OnbeatError("the calibration was ended at the terminal; it has to be made anew") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise OnbeatError(f"{device} could not be calibrated: {one_line(error)}") from error
    finally:
        released = release(device, section)
    return 0 if released else 1


def _make(section: str, parsed: RobotFlags) -> Any:
    if section == "teleop":
        assert parsed.teleop is not None
        return make_teleoperator_from_config(parsed.teleop)
    if hasattr(parsed.robot, "cameras"):
        parsed.robot.cameras = {}
    return make_robot_from_config(parsed.robot)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

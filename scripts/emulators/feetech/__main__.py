"""An SO-101 arm on a pseudo-terminal.

    python -m scripts.emulators.feetech --role=follower --link=/tmp/arm --calibration=/tmp/calibration/arm.json

Prints the path of the terminal on its first line. With --link, its console is at LINK.console (see console.py).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from scripts.emulators.feetech import so101
from scripts.emulators.feetech.bus import Bus
from scripts.emulators.feetech.faults import FaultInjector, FaultPlan
from scripts.emulators.feetech.port import Port

_NS = 1_000_000_000
_LEAST_TIME_CONSTANT_S = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the process; ends by itself when its parent or its lifetime does."""
    options = _parser().parse_args(argv)
    parent_fd = os.pidfd_open(os.getppid())
    began_ns = time.monotonic_ns()
    servos = so101.servos(
        options.role,
        options.motors,
        calibrated=not options.uncalibrated,
        time_constant_s=options.time_constant_s,
        swing_period_s=options.swing_period_s,
        began_ns=began_ns,
    )
    injector = FaultInjector(options.seed)
    injector.follow(options.faults)
    if options.calibration:
        so101.write_calibration(options.role, options.calibration)
    console = options.link.with_name(f"{options.link.name}.console") if options.link else None
    port = Port(Bus(servos, injector), options.link, console)
    signal.signal(signal.SIGTERM, _end)
    try:
        print(port.name, flush=True)
        reason = port.run(began_ns + round(options.lifetime_s * _NS), parent_fd)
    finally:
        port.close()
    print(f"the emulated {options.role} ends: {reason}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.emulators.feetech",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--role", choices=so101.ROLES, default="follower", help="whose calibration; a leader is moved by a hand"
    )
    parser.add_argument("--motors", type=int, default=6, choices=range(1, 7), help="servos on the bus, ids from 1")
    parser.add_argument("--link", type=Path, help="symbolic link to make to the terminal")
    parser.add_argument("--calibration", type=Path, help="lerobot's calibration file to write, DIR/ID.json")
    parser.add_argument("--uncalibrated", action="store_true", help="offsets and limits as from the factory")
    parser.add_argument(
        "--time_constant_s", type=_time_constant_s, default=0.06, help="of the motion to the goal, at least 0.05"
    )
    parser.add_argument("--swing_period_s", type=float, default=8.0, help="of the hand at the leader; 0: it rests")
    parser.add_argument(
        "--faults", type=_fault_plan, default=FaultPlan(), help='JSON, such as {"silence": 0.01}; see faults.py'
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults that are drawn")
    parser.add_argument("--lifetime_s", type=float, default=3600.0, help="ends after this long at the latest")
    return parser


def _time_constant_s(text: str) -> float:
    value = float(text)
    if value < _LEAST_TIME_CONSTANT_S:
        raise argparse.ArgumentTypeError(f"{value:g} found, expected at least {_LEAST_TIME_CONSTANT_S:g}")
    return value


def _fault_plan(text: str) -> FaultPlan:
    try:
        return FaultPlan.from_json(json.loads(text))
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main())

"""A device that has to be calibrated before it can be recorded: at a terminal it can be done there and then."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from control.errors import UncalibratedError
from transport.errors import OnbeatError

_YES = "yes"


def offered(error: UncalibratedError, argv: Sequence[str]) -> bool:
    """Ask whoever sits at the terminal, and let lerobot calibrate the device.

    Nothing of the session may be left running: lerobot's own prompts need the terminal and the device for themselves.

    Args:
        argv: the flags `--robot.*` and `--teleop.*`.

    Returns:
        Whether the session is to begin anew; False without a terminal, and without a yes.

    Raises:
        OnbeatError: the calibration was begun and not finished.
    """
    if not sys.stdin.isatty():
        return False
    # The supervisor that has just ended had them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print(f"onbeat: {error}")
    # Enter alone is what a wrong --robot.id would meet; the servos' memory is not written for that.
    if _asked(f"Calibrate it now? Its torque goes off: hold the arm. Type {_YES} and Enter, or Enter to end: ") != _YES:
        return False
    _calibrate(error.section, argv)
    # Its torque comes on again when the session begins.
    _asked("Calibrated. Press Enter to go on to the recording, Ctrl-C to end: ")
    return True


def _asked(question: str) -> str:
    print(question, end="", flush=True)
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        line = ""
    if not line:
        raise OnbeatError("ended at the terminal before anything was recorded")
    return line.strip().lower()


def _calibrate(section: str, argv: Sequence[str]) -> None:
    program = subprocess.Popen([sys.executable, "-m", "control.lerobot_calibration", section, *argv])
    # Ctrl-C goes to both, and it is the program that has a device to release.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        code = program.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if code != 0:
        raise OnbeatError(f"the calibration ended with code {code}; calibrate with lerobot-calibrate, then record")

"""Robot and teleoperator as lerobot makes them: connected and released so that no arm is forgotten."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lerobot.robots import Robot
from lerobot.teleoperators import Teleoperator

from control.errors import UncalibratedError
from control.lerobot_bus import buses_of

_CUTS_TORQUE = "disable_torque_on_disconnect"


def parts_of(device: Any) -> list[Any]:
    """A robot or teleoperator, and the arms that it consists of."""
    return [device, *(part for part in vars(device).values() if isinstance(part, Robot | Teleoperator))]


@contextmanager
def no_prompts(device: Any, section: str) -> Iterator[None]:
    """Refuse, instead of asking at a terminal that this process has not, to calibrate a device that needs it.

    Raises:
        UncalibratedError: it is not calibrated.
    """
    parts = parts_of(device)
    for part in parts:
        part.calibrate = _refusing(part, section, part.calibrate)
    try:
        yield
    finally:
        for part in parts:
            del part.calibrate


def _refusing(part: Any, section: str, calibrate: Callable[[], None]) -> Callable[[], None]:
    def refuse() -> None:
        if part.is_calibrated:
            calibrate()
            return
        raise UncalibratedError(
            f"{part} is not calibrated, or not as its calibration file {part.calibration_fpath} says; run "
            f"lerobot-calibrate with the same --{section}.* flags first",
            section,
        )

    return refuse


def release(device: Any, what: str, *, keep_torque: bool = False, then: str = "switch its power off") -> bool:
    """Disconnect, whatever state it is in; False after a failure, which is said aloud: an arm may be left stiff.

    Args:
        keep_torque: as far as its driver knows how to.
        then: what comes after a failure, in words.
    """
    if keep_torque:
        for part in parts_of(device):
            if hasattr(part.config, _CUTS_TORQUE):
                setattr(part.config, _CUTS_TORQUE, False)
    try:
        if device.is_connected:
            device.disconnect()
        else:
            # Connecting failed half-way: lerobot itself would leave its torque on.
            for bus in buses_of(device):
                if bus.is_connected:
                    bus.disconnect(getattr(device.config, _CUTS_TORQUE, True))
    except Exception as error:  # noqa: BLE001 - the other devices must be released too
        print(f"onbeat: the {what} could not be released: {one_line(error)}; {then}", file=sys.stderr)
        return False
    return True


def close_ports(device: Any) -> None:
    """Close what a failed `disconnect` left open, for the guardian to open it."""
    for bus in buses_of(device):
        if bus.port_handler.is_open:
            bus.port_handler.closePort()


def one_line(error: BaseException) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__

"""What a serial port raises when its cable is pulled: pyserial lets termios's own error through, no OSError."""

from __future__ import annotations

import termios

SERIAL_FAULTS = (OSError, termios.error)


def words(fault: BaseException) -> str:
    """One line for people."""
    shown = OSError(*fault.args) if isinstance(fault, termios.error) else fault
    return " ".join(f"{shown}".split()) or type(shown).__name__

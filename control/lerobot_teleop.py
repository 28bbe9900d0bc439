"""lerobot's teleoperators that have threads, in a process of their own, and their values as text and numbers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from enum import Enum
from typing import Any

from lerobot.teleoperators import make_teleoperator_from_config

from control.errors import SourceError
from control.lerobot_build import parse
from control.lerobot_device import no_prompts, one_line
from control.lerobot_device import release as release
from control.teleop_values import encode
from transport.errors import OnbeatError, UsageError

# It asks on the device itself, each time, not at a terminal.
_CALIBRATES_ITSELF = frozenset(["phone"])
_KEYBOARD = "keyboard"


def connected(argv: Sequence[str]) -> Any:
    """Make and connect the teleoperator of these flags.

    Raises:
        UsageError: it cannot be used on this machine, or is not calibrated.
        SourceError: it does not answer.
    """
    config: Any = parse(argv).teleop
    try:
        device = make_teleoperator_from_config(config)
        asks = config.type in _CALIBRATES_ITSELF
        if config.type.startswith(_KEYBOARD):
            logging.disable(logging.WARNING)  # without a display it warns, and says nothing for ever; refused below
        with contextlib.nullcontext() if asks else no_prompts(device, "teleop"):
            device.connect()
    except OnbeatError:
        raise
    except (ImportError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    except Exception as error:
        raise SourceError(f"{config.type} cannot be connected: {one_line(error)}; check --teleop.*") from error
    finally:
        logging.disable(logging.NOTSET)
    if not device.is_connected:
        why = "its driver gave up without saying why; check --teleop.*"
        if config.type.startswith(_KEYBOARD):
            why = "it reads keys from an X11 session, and there is none; use a leader arm or record at a display"
        raise UsageError(f"--teleop.type={config.type} cannot be used here: {why}")
    return device


def has_events(device: Any) -> bool:
    """Whether the device says who leads, and how an episode ended."""
    return hasattr(device, "get_teleop_events")


def read(device: Any, *, events: bool) -> dict[str, Any]:
    """What the device says now, as text and numbers.

    Args:
        events: ask for them too, after the action as lerobot does; asking may change what the device says next.

    Raises:
        SourceError: it says what has no such form.
        Exception: whatever the driver raises.
    """
    value: dict[str, Any] = {"action": encode(device.get_action())}
    if events:
        value["events"] = {_name(key): bool(on) for key, on in device.get_teleop_events().items()}
    return value


def _name(key: Any) -> str:
    return str(key.value if isinstance(key, Enum) else key)

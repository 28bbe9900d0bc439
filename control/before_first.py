"""What comes before the first episode: control is ready, a writer agrees, the link to it is wide enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from control.control_handle import ControlHandle
from control.display import Display
from control.errors import told
from control.link_load import LinkLoad
from control.publisher_news import PublisherNews
from control.ready import Ready
from control.supervisor_settings import SupervisorSettings
from transport.errors import OnbeatError, RefusedError
from transport.schema import Schema

_TURN_S = 0.05


def await_ready(
    control: ControlHandle,
    display: Display,
    start_guardian: Callable[[dict[str, Any], list[int]], None],
    look: Callable[[], None],
) -> tuple[Ready, list[int]]:
    """Wait for control's READY; how long an environment takes to load is its own affair.

    Args:
        start_guardian: returns once the guardian that control asks for watches it.
        look: sees after the other processes, now and then.

    Returns:
        READY, and its file descriptors: log ring, board, the publisher's wake-up.

    Raises:
        RefusedError: control cannot record what was asked for.
        OnbeatError: it failed, or ended.
    """
    while True:
        received = control.link.receive() if control.wait_readable(1.0) else None
        if received is not None:
            message, fds = received
            if "failed" in message:
                raise told(message)
            if "log" in message:
                display.warn(message["log"])
            elif "guard" in message:
                start_guardian(message["guard"], fds)
                control.link.send({"guarded": True})
            else:
                return Ready.from_wire(message["ready"]), fds
        elif control.ended():
            raise OnbeatError(f"the control process ended with code {control.exit_code()} before it was ready")
        look()


def await_welcome(
    news: PublisherNews,
    control: ControlHandle,
    settings: SupervisorSettings,
    address: str,
    turn: Callable[[float], None],
) -> None:
    """Wait until a writer has agreed to the session and, if it is elsewhere, the link to it is measured.

    Args:
        turn: takes in whatever arrives within so many seconds.

    Raises:
        RefusedError: none answered in time, or it said no.
        OnbeatError: control ended.
    """
    limit_s = time.monotonic() + settings.timeout_s
    while not news.welcome or (settings.writer_address is not None and news.link_bytes_per_s is None):
        if time.monotonic() > limit_s:
            raise RefusedError(
                f"no writer answered at {address} within {settings.timeout_s:g} s; start one with "
                "`onbeat writer --bind=...` or leave --writer.address away"
            )
        if control.ended():
            raise OnbeatError("the control process ended before the first episode")
        turn(_TURN_S)


def check_link(ready: Ready, bytes_per_s: float, display: Display, *, allow_slow: bool) -> None:
    """Compare what will be sent with what the link carries.

    Raises:
        RefusedError: it is too much.
    """
    load = LinkLoad(Schema.from_wire(ready.schema), ready.fps, bytes_per_s)
    display.note(load.text)
    if load.too_much and not allow_slow:
        raise RefusedError(load.refusal)
    if load.warning:
        display.warn(load.warning)

"""The guardian: a small process that outlives control and leaves the arm as `--robot.on_fault` says.

It has no loop of its own and no robot object: it sleeps until control has ended, has failed, or has released the robot
in order. It never calls lerobot's `connect()`, which cuts the torque and may ask for a calibration; and it opens the
serial port only when control has it open no more. If the supervisor is gone and control does not end, it ends control.
"""

from __future__ import annotations

import contextlib
import select
import signal
import sys
import time

from control.guarded import GuardedBus
from control.torque import TorqueSwitch
from transport.link import Link, child_link

# What SIGTERM gives control, when the supervisor has died, to end its session.
_ORPHAN_LIMIT_S = 5.0
_TELL_AFTER_S = 1.0
_GIVE_UP_S = 10.0
_PAUSE_S = 0.02


def main() -> int:
    """Entry of the process; its link's first message has `buses` and `hold`, and four file descriptors."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # A service manager that ends everything at once must not end this one first.
        signal.signal(number, signal.SIG_IGN)
    link, first, (control, supervisor, released, handed_over) = child_link()
    switches = [TorqueSwitch(GuardedBus.from_wire(bus), on=first["hold"]) for bus in first["buses"]]
    link.send({"watching": True})
    if not await_fault(control, supervisor, released, handed_over):
        return 0
    return leave(switches, link, hold=first["hold"])


def await_fault(
    control: int, supervisor: int, released: int, handed_over: int, orphan_limit_s: float = _ORPHAN_LIMIT_S
) -> bool:
    """Sleep until it is known how control's session ended; True when not in order.

    Args:
        control, supervisor: pidfds.
        released, handed_over: eventfds, which are left as they are for another guardian.
    """
    watched = {control, supervisor, released, handed_over}
    limit_s: float | None = None
    while True:
        left_s = None if limit_s is None else max(limit_s - time.monotonic(), 0)
        ready = set(select.select(watched, [], [], left_s)[0])
        if released in ready:
            return False
        if ready & {control, handed_over}:
            return True
        if supervisor in ready:
            watched.discard(supervisor)
            limit_s = time.monotonic() + orphan_limit_s
        elif limit_s is not None and time.monotonic() >= limit_s:
            limit_s = None
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(control, signal.SIGKILL)


def leave(switches: list[TorqueSwitch], link: Link, *, hold: bool, give_up_s: float = _GIVE_UP_S) -> int:
    """Bring all motors into the state; returns the exit code. A bus that is silent does not delay the others."""
    began_s = time.monotonic()
    warned = False
    left = switches
    while left := [switch for switch in left if not switch.attempt()]:
        elapsed_s = time.monotonic() - began_s
        if elapsed_s > give_up_s:
            break
        if elapsed_s > _TELL_AFTER_S and not warned:
            warned = True
            _say(link, "log", f"the robot cannot be {_word(hold)} yet: {_troubles(left)}; tried again")
        time.sleep(_PAUSE_S)
    for switch in switches:
        switch.close()
    if left:
        _say(link, "failed", f"the robot could not be {_word(hold)}: {_troubles(left)}; switch its power off")
    else:
        ms = (time.monotonic() - began_s) * 1000
        _say(link, "log", f"the robot was {_word(hold)} by the guardian, in {ms:.0f} ms (--robot.on_fault)")
    return 0


def _say(link: Link, kind: str, text: str) -> None:
    if not link.send({kind: text}):
        print(f"! {text}", file=sys.stderr, flush=True)


def _word(hold: bool) -> str:
    return "held" if hold else "released"


def _troubles(switches: list[TorqueSwitch]) -> str:
    return "; ".join(f"{switch.name}: {switch.trouble}" for switch in switches)


if __name__ == "__main__":
    raise SystemExit(main())

"""A lerobot robot with a guardian: which of its motors one can take over, and how the session leaves it."""

from __future__ import annotations

from typing import Any

from control.guarded import HOLD, Guard, GuardedBus, GuardedMotor
from control.lerobot_bus import buses_of
from control.lerobot_device import close_ports, release
from transport.link import Link

# In which operating modes torque keeps a position: Feetech's position and step; Dynamixel's three position modes.
_HOLDS_IN = {"scservo_sdk": (0, 3), "dynamixel_sdk": (3, 4, 5)}
_UNGUARDED = (
    "--robot.on_fault={on_fault} cannot be kept for {robot}: it has no Feetech or Dynamixel bus on this machine; if "
    "the control process dies, nobody switches its motors off or on"
)
_NEEDED = _TORQUE, _POSITION, _GOAL = "Torque_Enable", "Present_Position", "Goal_Position"


class GuardedRobot:
    """Make it before the robot is connected: from then on there is somebody to look after the arm.

    Args:
        link: to the supervisor, which starts the guardian.
        on_fault: `release` or `hold`. For a robot without such a bus it cannot be kept, and the operator is told.

    Raises:
        OnbeatError: there is no guardian.
    """

    def __init__(self, robot: Any, link: Link, on_fault: str) -> None:
        self._robot, self._on_fault = robot, on_fault
        self._guard: Guard | None = None
        if buses := guarded_buses(robot):
            self._guard = Guard(link, buses, on_fault)
        else:
            link.send({"log": _UNGUARDED.format(on_fault=on_fault, robot=robot)})

    def leave(self, *, failed: bool) -> None:
        """Disconnect: as lerobot does after a session that ended in order, else as `on_fault` says."""
        robot, guard = self._robot, self._guard
        if guard is None:
            release(robot, "robot")
            return
        then = "the guardian tries"
        in_order = release(robot, "robot", keep_torque=failed and self._on_fault == HOLD, then=then) and not failed
        close_ports(robot)
        guard.stand_down() if in_order else guard.hand_over()


def guarded_buses(robot: Any) -> list[GuardedBus]:
    """The buses of a robot and of its arms that have registers for torque; empty where there are none."""
    found = []
    for bus in buses_of(robot):
        sdk = type(bus.port_handler).__module__.partition(".")[0]
        motors = [] if sdk not in _HOLDS_IN else _motors(bus, _HOLDS_IN[sdk])
        if motors:
            baud = bus.port_handler.getBaudRate()
            protocol = getattr(bus, "protocol_version", None)
            if protocol is None:
                protocol = bus.packet_handler.getProtocolVersion()
            found.append(GuardedBus(sdk, bus.port, baud, protocol, motors))
    return found


def _motors(bus: Any, holds_in: tuple[int, ...]) -> list[GuardedMotor]:
    motors = []
    for motor in bus.motors.values():
        registers = bus.model_ctrl_table.get(motor.model, {})
        if all(name in registers for name in _NEEDED):
            torque, (position, size), goal = registers[_TORQUE][0], registers[_POSITION], registers[_GOAL][0]
            lock, mode = (registers.get(name, (None,))[0] for name in ("Lock", "Operating_Mode"))
            motors.append(GuardedMotor(motor.id, torque, lock, mode, position, goal, size, holds_in))
    return motors

"""`onbeat record`: record episodes into a LeRobotDataset, on the beat."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from datetime import datetime

import draccus

from control import calibration, config_file, hil_flags, lerobot_flags, policy_flags
from control.config import RecordConfig
from control.control_handle import ControlHandle
from control.display import Display
from control.errors import UncalibratedError
from control.naming import supervisor_settings
from control.operator import make_operator
from control.supervisor import Supervisor
from control.supervisor_settings import SupervisorSettings
from transport import flags
from transport.errors import UsageError
from transport.link import spawn


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code: 0 all well, 1 a failure, 2 something asked for that cannot be."""
    robot = hil = None
    config: RecordConfig
    try:
        given = argv = config_file.expanded(argv)
        overrides, plugins, argv = policy_flags.split(given)
        if hil_flags.is_hil(argv):
            config, hil = hil_flags.parse(argv)
            if config.policy.path is not None:
                raise UsageError(
                    "--policy.path and a configuration of gym_manipulator's found together; a policy acts in "
                    "environments (--env.id) and robots (--robot.type)"
                )
        elif lerobot_flags.has_robot(argv):
            robot, rest = lerobot_flags.split(argv)
            config = lerobot_flags.parse(rest)
        else:
            config = flags.parse(RecordConfig, argv, prog="onbeat record", about=__doc__)
        policy_flags.complete(config, given, overrides, plugins)
    except UsageError as error:
        return flags.fail(error)
    return flags.report(lambda: _run(config, robot, hil), debug=config.debug)


def _run(config: RecordConfig, robot: list[str] | None, hil: list[str] | None) -> int:
    settings = supervisor_settings(config, datetime.now())
    while True:
        try:
            return _session(config, settings, robot, hil)
        except UncalibratedError as error:
            if robot is None or not calibration.offered(error, robot):
                raise


def _session(config: RecordConfig, settings: SupervisorSettings, robot: list[str] | None, hil: list[str] | None) -> int:
    with contextlib.ExitStack() as exits:
        display = exits.enter_context(contextlib.closing(Display(config.dataset.num_episodes)))
        operator = exits.enter_context(contextlib.closing(make_operator(config, display.note, display.warn)))
        # Ends by SIGTERM when this process dies, which aborts the episode and releases the robot.
        first = {"config": draccus.encode(config), "robot": robot, "hil": hil}
        process, link = spawn("control.process", first, die_with_parent=signal.SIGTERM)
        handle = ControlHandle(link, os.pidfd_open(process.pid), process)
        summary = Supervisor(settings, handle, display, operator).run()
    print("\n".join(summary.lines()))
    return summary.exit_code

"""The control process of `onbeat record`: makes the environment or the robot and runs the loop in its main thread."""

from __future__ import annotations

import sys
import traceback

import draccus

from control import policy_build
from control.build import build, build_robot
from control.config import RecordConfig
from control.lerobot_flags import RobotRecordConfig
from control.session import run_session
from transport.errors import OnbeatError, RefusedError
from transport.link import child_link


def main() -> int:
    """Entry of the process; its link's first message has `config`, the flags, and `robot`, lerobot's own."""
    link, first, _ = child_link()
    robot_argv = first.get("robot")
    config = draccus.decode(RecordConfig if robot_argv is None else RobotRecordConfig, first["config"])
    try:
        if robot_argv is not None:
            source, plan, settings = build_robot(config, robot_argv, link)
        elif config.policy.path is not None:
            source, plan, settings = policy_build.build(config, link)
        else:
            source, plan, settings = build(config)
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return error.exit_code
    try:
        run_session(source, plan, settings, link)
    except RefusedError:
        return 2  # the supervisor knows why, and says it
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        if config.debug:
            traceback.print_exc(file=sys.stderr)
        return error.exit_code
    finally:
        source.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

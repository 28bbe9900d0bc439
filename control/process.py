"""The control process of `onbeat record`: makes the environment or the robot and runs the loop in its main thread."""

from __future__ import annotations

import sys
import traceback

import draccus

from control import policy_build
from control.build import build, build_hil, build_robot
from control.config import RecordConfig
from control.errors import tell
from control.hil_flags import HilRecordConfig
from control.lerobot_flags import RobotRecordConfig
from control.session import run_session
from transport.errors import OnbeatError, RefusedError
from transport.link import child_link


def main() -> int:
    """Entry of the process.

    Its link's first message has `config`, the flags, and lerobot's own as `robot` or, with a configuration of lerobot's
    gym_manipulator, as `hil`.
    """
    link, first, _ = child_link()
    robot_argv, hil_argv = first.get("robot"), first.get("hil")
    config: RecordConfig
    try:
        if hil_argv is not None:
            config = hil_config = draccus.decode(HilRecordConfig, first["config"])
            source, plan, settings = build_hil(hil_config, hil_argv, link)
        elif robot_argv is not None:
            config = robot_config = draccus.decode(RobotRecordConfig, first["config"])
            with_policy = config.policy.path is not None
            source, plan, settings = (policy_build.build_robot if with_policy else build_robot)(
                robot_config, robot_argv, link
            )
        else:
            config = draccus.decode(RecordConfig, first["config"])
            made = build(config) if config.policy.path is None else policy_build.build_env(config, link)
            source, plan, settings = made
    except OnbeatError as error:
        link.send(tell(error))
        return error.exit_code
    failed = True
    try:
        run_session(source, plan, settings, link)
        failed = False
    except RefusedError:
        failed = False
        return 2  # the supervisor knows why, and says it
    except OnbeatError as error:
        link.send(tell(error))
        if config.debug:
            traceback.print_exc(file=sys.stderr)
        return error.exit_code
    finally:
        source.close(failed=failed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

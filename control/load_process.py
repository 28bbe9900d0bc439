"""The control process of `onbeat loadtest`: the loop of `onbeat record` on a simulated robot."""

from __future__ import annotations

from dataclasses import replace

import draccus

from control.build import plan_of, settings_of
from control.clock import SystemClock
from control.config import RecordConfig
from control.load_config import LoadConfig
from control.load_frames import ReplayedFrames, SyntheticFrames
from control.load_source import LoadFrames, LoadSource
from control.load_trace import TickTrace
from control.session import run_session
from transport.errors import OnbeatError, RefusedError
from transport.link import child_link
from transport.replay import ReplayLayout


def main() -> int:
    """Entry of the process; its link's first message has the flags, and file descriptors of trace and replay."""
    link, first, (trace_fd, *replay_fds) = child_link()
    config = draccus.decode(LoadConfig, first["config"])
    recording = draccus.decode(RecordConfig, first["recording"])
    load, fps = config.load, first["fps"]
    tasks: tuple[str, ...] = ()
    try:
        if replay_fds:
            layout = ReplayLayout.from_wire(first["layout"])
            frames: LoadFrames = ReplayedFrames(replay_fds[0], layout)
            tasks = tuple(episode.task for episode in layout.episodes)
        else:
            episode_frames = first["episode_frames"]
            frames = SyntheticFrames(load.cameras, load.width, load.height, load.joints, episode_frames)
        # The bus is waited for as a driver waits: asleep, not spinning.
        source = LoadSource(frames, load.step_ms, SystemClock(spin_ns=0), TickTrace(trace_fd))
        plan = replace(plan_of(recording, source, fps), tasks=tasks, tasks_by_take=True)
        settings = settings_of(recording, fps)
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return error.exit_code
    try:
        run_session(source, plan, settings, link)
    except RefusedError:
        return 2  # the supervisor knows why, and says it
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return error.exit_code
    finally:
        source.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

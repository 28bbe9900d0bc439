"""A control process that spins in a call which takes no signals, at the priority of the loop, is ended all the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import onbeat_process as run
import pytest

from transport.link import spawn

pytestmark = pytest.mark.serial

MAX_TICK_S = 1.0
# Its resets are slower than a tick may be, and its fifth step never ends.
STUCK = """
import time

import gymnasium
import numpy as np


class Stuck(gymnasium.Env):
    metadata = {"render_fps": 30}
    observation_space = gymnasium.spaces.Dict({"agent_pos": gymnasium.spaces.Box(-1, 1, (2,))})
    action_space = gymnasium.spaces.Box(-1, 1, (2,))
    steps = 0

    def reset(self, *, seed=None, options=None):
        time.sleep(2)
        return {"agent_pos": np.zeros(2, np.float32)}, {}

    def step(self, action):
        self.steps += 1
        if self.steps == 5:
            max(range(10**15))
        return {"agent_pos": np.zeros(2, np.float32)}, 0.0, False, False, {}


gymnasium.register("Stuck-v0", Stuck)
"""


def test_a_loop_stuck_in_a_call_is_ended_and_a_slow_reset_is_not(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    address = f"ipc://@onbeat-stuck-{os.getpid()}-{time.monotonic_ns()}"
    writer, link = spawn("control.load_sink", {"address": address, "numbered": False})
    assert link.receive(timeout_s=30) is not None
    flags = ["--env.id=stuck:Stuck-v0", f"--timing.max_tick_s={MAX_TICK_S}", f"--writer.address={address}"]
    with run.OnbeatProcess([run.ONBEAT, "record", *flags], tmp_path) as process:
        assert process.finish() == 1, process.output
        process.wait_for(r"the control process has not ticked for 1\.\d s and is ended", 0)
        process.wait_for(r"^frames +4$", 0)
        process.drain()
    writer.kill()
    writer.wait()
    link.close()

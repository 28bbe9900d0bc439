"""Real-time set-up in real sessions: it reaches the loop alone, and a caller's process is left as it was."""

from __future__ import annotations

import json
import os
import re
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import onbeat_process as run
import outcome
import pytest
from hdrh.histogram import HdrHistogram

from transport.schema import LoopFlag

CAP_SYS_NICE = 23
CPUS = sorted(os.sched_getaffinity(0))


def threads_of(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]


def policy(thread: int) -> int:
    return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK


def may_become_realtime(pid: int) -> bool:
    """Whether a process has the capability to, or a limit that lets it."""
    status, limits = (Path(f"/proc/{pid}/{name}").read_text() for name in ("status", "limits"))
    capabilities = int(re.search(r"CapEff:\s*(\w+)", status)[1], 16)  # type: ignore[index]
    return bool(capabilities & 1 << CAP_SYS_NICE) or re.search(r"Max realtime priority +0 ", limits) is None


def await_(done: Callable[[], bool], otherwise: str) -> None:
    deadline_s = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline_s, otherwise
        threading.Event().wait(0.02)


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two processors")
def test_publisher_and_writer_stay_at_normal_priority_and_off_the_loops_processor(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    flags = ("--teleop.type=none", "--dataset.episode_time_s=4", "--dataset.num_episodes=1", f"--timing.cpu={CPUS[-1]}")
    with run.record(root, tmp_path, *flags) as process:
        process.wait_for(r"state: recording")
        control = process.pid_of("control.process")
        others = {
            module: process.pid_of(module) for module in ("transport.publisher", "writer.ingest", "writer.committer")
        }
        is_fifo = re.search(r"loop: .*SCHED_FIFO", process.output) is not None
        assert policy(control) == (os.SCHED_FIFO if is_fifo else os.SCHED_OTHER)
        assert os.sched_getaffinity(control) == {CPUS[-1]}
        assert all(policy(thread) == os.SCHED_OTHER for thread in threads_of(control) if thread != control)
        for module, pid in others.items():
            for thread in threads_of(pid):
                assert policy(thread) == os.SCHED_OTHER, module
                assert os.sched_getaffinity(thread) == set(CPUS[:-1]), module
        # Opening SVT-AV1 makes whoever may be it real-time; it opens the encoder for each session, and commits then.
        for module in ("writer.ingest", "writer.committer"):
            await_(lambda pid=others[module]: not may_become_realtime(pid), f"{module} may become real-time")
        assert process.finish() == 0, process.output
    flags_held = set(outcome.telemetry(root, 0)["loop_flags"].ravel().tolist())
    assert len(flags_held) == 1
    (held,) = (LoopFlag(int(flag)) for flag in flags_held)
    assert (LoopFlag.FIFO in held) is is_fifo
    assert {LoopFlag.PACED, LoopFlag.PINNED, LoopFlag.GC_PAUSED} <= set(held)


SCRIPT = """
    import gc, os, sys
    from types import SimpleNamespace
    import gymnasium
    from control import kernel
    from control.api import record_dataset

    def state():
        return (os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getaffinity(0), kernel.timer_slack_ns(),
            gc.isenabled(), gc.get_freeze_count(), sys.getswitchinterval(), kernel.locked_kb())

    env = gymnasium.make("onbeat/Tabletop-v0", intervention="scripted", width=160, height=120)
    wrapper = SimpleNamespace(use_gripper=True, control_time_s=2)
    cfg = SimpleNamespace(repo_id="me/pick", dataset_root="ds", num_episodes=1, fps=30, push_to_hub=False, task="pick",
        number_of_steps_after_success=1, wrapper=wrapper, pretrained_policy_name_or_path=None)
    gc.unfreeze()
    before = state()
    record_dataset(env, None, cfg)
    after = state()
    print("left as found" if before == after else f"left changed: {before} -> {after}")
"""


def test_record_dataset_leaves_the_callers_process_as_it_found_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    python = str(Path(run.ONBEAT).with_name("python"))
    with run.OnbeatProcess([python, "-P", "script.py"], tmp_path) as process:
        assert process.finish() == 0, process.output
        process.wait_for("left as found", 0)
    held = outcome.telemetry(tmp_path / "ds", 0)["loop_flags"].ravel()
    assert (held & LoopFlag.GC_PAUSED).all()


def test_an_episode_with_too_many_missed_slots_is_said_marked_and_reported(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        textwrap.dedent(
            """
            import time

            import numpy as np

            from control.teleoperator import TeleopAction

            class Slow:
                def __init__(self):
                    self.ticks = 0

                def reset(self):
                    self.ticks = 0

                def act(self, observation, info):
                    self.ticks += 1
                    if self.ticks % 10 == 0:
                        time.sleep(0.08)
                    return TeleopAction(action=np.zeros(4, np.float32))

                def close(self):
                    pass
            """
        )
    )
    root = tmp_path / "ds"
    flags = ("--teleop.type=slow:Slow", "--dataset.episode_time_s=2", "--timing.max_missed_fraction=0.05")
    with run.record(root, tmp_path, *flags, "--dataset.num_episodes=1") as process:
        assert process.finish() == 0, process.output
        line = process.wait_for(r"! take 0 marked: .* more than --timing.max_missed_fraction=0.05: (.*)", 0).group(1)
    assert " by teleop (up to " in line
    missed = int(outcome.telemetry(root, 0)["missed_slots"].sum())
    assert line.startswith(f"{missed} of {missed + 60} slots missed")
    facts = json.loads((root / "meta/onbeat/episode-000000.json").read_text())
    encoded = {name: camera["busy_us"]["count"] for name, camera in facts["encoding"]["cameras"].items()}
    assert encoded == {"observation.images.front": 60, "observation.images.wrist": 60}
    assert facts["encoding"]["ingest_cpu_us_per_frame"] > 0
    late = HdrHistogram.decode(facts["timing"]["lateness_ns_hdr"])
    assert late.get_total_count() == facts["timing"]["lateness_us"]["count"] == missed + 60
    assert late.get_max_value() == pytest.approx(facts["timing"]["lateness_us"]["max"] * 1000, rel=1e-3)
    code, output = run.onbeat(tmp_path, "report", str(root))
    assert code == 0, output
    assert f"{missed} of {missed + 60} slots were missed" in output
    assert "teleoperator" in output
    assert (tmp_path / "ds.report/index.html").exists()

"""A policy moves an emulated arm, a person takes over with the leader by key and gives back; then the policy dies."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import arm_session
import numpy as np
import onbeat_process as run
import outcome
import pytest
import stock_arm
import untrained_policy

pytestmark = [pytest.mark.acceptance, pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(500)]

FPS, WIDTH, HEIGHT = 20, 128, 96
HANDOVER_S = 0.5


def test_a_policy_moves_an_arm_and_a_person_takes_over(tmp_path: Path, terminal: tuple[int, int]) -> None:
    person, command = terminal
    policy, root = untrained_policy.make(tmp_path / "policy", width=WIDTH, height=HEIGHT), tmp_path / "ds"
    with arm_session.short_rig(fps=FPS, width=WIDTH, height=HEIGHT, cameras=("front",)) as rig:
        flags = [
            *arm_session.dataset_flags(rig, num_episodes=2, episode_time_s=60),
            f"--dataset.root={root}",
            "--writer.allow_slow=true",
            f"--policy.path={policy}",
            f"--policy.handover_s={HANDOVER_S}",
            "--policy.max_held_s=1",
        ]
        for _ in range(arm_session.ATTEMPTS):
            shutil.rmtree(root, ignore_errors=True)
            shutil.rmtree(root.with_name("ds.onbeat"), ignore_errors=True)
            since = rig.leader.next_number()
            with run.OnbeatProcess([run.ONBEAT, "record", *flags], tmp_path, stdin=command) as process:
                try:
                    process.wait_for(r"state: recording .*\(take 0\)", 120)
                    os.write(person, b"i")
                    process.wait_for(r"state: recording .*\(take 0\)  frames: ([5-9]\d|\d{3}) ", 30)
                    os.write(person, b"i")
                    process.wait_for(r"state: recording .*\(take 0\)  frames: \d{3} .*", 30)
                    os.write(person, b"n")
                    process.wait_for(r"state: recording .*\(take 1\)", 30)
                    os.kill(process.pid_of("control.policy_process"), signal.SIGKILL)
                    process.wait_for("the policy's process ended with code -9; holding")
                    assert process.finish() == 1, process.output
                    process.wait_for("nothing to do for 20 frames in a row", 0)
                except AssertionError:
                    if any(word in process.output for word in arm_session.STARVED):
                        continue
                    raise
                break
        leader_reads = rig.leader.accesses("read", "Present_Position", since)
        assert set(rig.follower.torque().values()) == {0}

    assert outcome.info(root)["total_episodes"] == 1
    outcome.assert_no_slot_lost(root, 0, FPS)
    told, data = outcome.telemetry(root, 0), outcome.rows(root)
    acted, actions = told["policy.acted"], data["action"].astype(np.float32)
    assert (told["is_intervention"] == (acted == 2)).all()
    changes = np.flatnonzero(np.diff((acted == 2).astype(int)))
    start, end = changes[-2:] + 1  # of the last takeover: the key may come before the first frame
    assert end - start > 2 * HANDOVER_S * FPS

    # Held: the last target again. By the policy: as it says, one row a frame.
    for frame in np.flatnonzero(acted == 0):
        assert frame > 0
        np.testing.assert_array_equal(actions[frame], actions[frame - 1])
    assert (np.diff(told["policy.observed_frame"][acted == 1]) >= 0).all()
    assert (told["policy.observed_frame"][end:][acted[end:] == 1] >= end).all(), "planned before the person acted"

    # Handed over step by step, then the leader itself.
    steps = np.abs(np.diff(actions[start - 1 : start + round(HANDOVER_S * FPS) + 1], axis=0)).max(axis=0)
    whole = np.abs(actions[start + round(HANDOVER_S * FPS)] - actions[start - 1])
    assert (steps <= np.maximum(whole / 2, 5)).all()
    followed = actions[start + round(HANDOVER_S * FPS) : end][~told["teleop_read_failed"][start + 10 : end]]
    assert len(followed) > FPS
    assert stock_arm.is_subsequence(
        followed[: FPS // 2], stock_arm.rows("leader", [read.values for read in leader_reads])
    )
    np.testing.assert_array_equal(np.array(told["sent_action"])[~told["send_failed"]], actions[~told["send_failed"]])

"""The operator at a terminal: a pseudo-terminal types what a person would."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import onbeat_process as run
import outcome

LONG = ("--teleop.type=none", "--dataset.episode_time_s=60", "--env.kwargs={width: 64, height: 48, max_episode_s: 100}")


def frames_of(process: run.OnbeatProcess, take: int, at_least: int) -> None:
    process.wait_for(rf"state: recording .*\(take {take}\)")
    process.wait_for(rf"\(take {take}\)  frames: ([{at_least}-9]|\d\d+) ", limit_s=30)


def test_keys_end_discard_and_stop(tmp_path: Path, terminal: tuple[int, int]) -> None:
    person, command = terminal
    root = tmp_path / "ds"
    flags = (*LONG, "--dataset.num_episodes=9", "--dataset.reset_time_s=60")
    with run.record(root, tmp_path, *flags, stdin=command) as process:
        frames_of(process, take=0, at_least=1)
        os.write(person, b"s")  # success: one row with reward 1.0 and the end
        process.wait_for(r"state: reset phase .*\(take 0\)")
        os.write(person, b"\x1b[C")
        frames_of(process, take=1, at_least=1)
        os.write(person, b"r")
        process.wait_for(r"state: reset phase .*\(take 1\)")
        os.write(person, b"n")
        frames_of(process, take=2, at_least=1)
        os.write(person, b"f")
        process.wait_for(r"state: reset phase .*\(take 2\)")
        os.write(person, b"\x1b[D")  # discard the one just recorded
        frames_of(process, take=3, at_least=1)
        os.write(person, b"\x1b")
        assert process.finish() == 0, process.output
        process.wait_for(r"take 1: discarded", 0)
        process.wait_for(r"take 2: discarded", 0)
        process.wait_for(r"^episodes  2 \(2 discarded\)", 0)
    outcome.assert_whole(root, episodes=2)
    data = outcome.rows(root)
    last = [(data["episode_index"] == episode).nonzero()[0][-1] for episode in (0, 1)]
    assert data["next.reward"][last].tolist() == [1.0, 0.0]
    assert data["next.done"].sum() == 2


def test_ctrl_c_stops_as_q_does(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with run.record(root, tmp_path, *LONG) as process:
        frames_of(process, take=0, at_least=1)
        os.kill(process.pid, signal.SIGINT)
        assert process.finish() == 0, process.output
    outcome.assert_whole(root, episodes=1)


def test_sigterm_aborts_the_episode_and_keeps_the_others(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with run.record(root, tmp_path, "--dataset.num_episodes=9") as process:
        frames_of(process, take=1, at_least=1)
        os.kill(process.pid, signal.SIGTERM)
        assert process.finish() == 1, process.output
        process.wait_for(r"take 1: aborted", 0)
        process.wait_for(r"SIGTERM", 0)
    assert outcome.info(root)["total_episodes"] == 1
    assert list((tmp_path / "ds.onbeat").rglob("aborted/e000001/*.mcap"))

"""Overload with the real processes: ring, then spill file, then the end of the episode; judged by what decodes.

Two cameras of 320x240 at 30 frames per second, each picture with its own frame number in its pixels.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
from pathlib import Path

import onbeat_process as run
import outcome
import pytest

# They import lerobot and measure the codec in every run, and their rings of a second are small against a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.serial]

SIZE = ("--env.kwargs={width: 320, height: 240}", "--dataset.rgb_encoder.vcodec=h264", "--env.seed=3")
RING_S = 1


def record(root: Path, home: Path, *flags: str) -> run.OnbeatProcess:
    return run.record(root, home, *SIZE, f"--publisher.ring_s={RING_S}", *flags, quick=False)


def assert_nothing_spilled_remains(home: Path) -> None:
    assert list((home / ".local/state/onbeat/spill").iterdir()) == []


def test_a_writer_away_for_several_rings_gets_every_frame(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with record(root, tmp_path, "--dataset.num_episodes=3") as process:
        process.wait_for("state: recording")
        ingest = process.pid_of("writer.ingest")
        os.kill(ingest, signal.SIGSTOP)
        process.wait_for(r"^! log ring 50% full: \d+ MB \(\d\.\d s\) wait for the writer; the oldest go to the spill")
        process.wait_for(r"state: recording .* \(take 1\)")
        process.wait_for(r"spill: [3-9]\d MB")
        os.kill(ingest, signal.SIGCONT)
        assert process.finish() == 0, process.output
        process.wait_for(r"^missing   0$", 0)
        assert "not recorded" not in process.output
    outcome.assert_whole(root, episodes=3)
    for episode in range(3):
        outcome.assert_no_slot_lost(root, episode, fps=30)
    assert_nothing_spilled_remains(tmp_path)


def test_a_publisher_killed_while_spilling_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    # The ring must hold what is recorded while a new interpreter starts.
    with record(root, tmp_path, "--dataset.num_episodes=2", "--publisher.ring_s=3") as process:
        process.wait_for("state: recording")
        ingest = process.pid_of("writer.ingest")
        os.kill(ingest, signal.SIGSTOP)
        process.wait_for(r"the oldest go to the spill file")
        os.kill(process.pid_of("transport.publisher"), signal.SIGKILL)
        process.wait_for(r"publisher ended with code -9 and was started again")
        process.wait_for(r"spill: [1-9]\d MB")
        os.kill(process.pid_of("transport.publisher"), signal.SIGKILL)
        os.kill(ingest, signal.SIGCONT)
        assert process.finish() == 0, process.output
    outcome.assert_whole(root, episodes=2)
    for episode in range(2):
        outcome.assert_no_slot_lost(root, episode, fps=30)
    assert_nothing_spilled_remains(tmp_path)


def test_without_room_the_episode_ends_with_the_exact_gap_and_the_session_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with record(root, tmp_path, "--dataset.num_episodes=1", "--publisher.spill_max_gb=0.01") as process:
        process.wait_for("state: recording")
        ingest = process.pid_of("writer.ingest")
        os.kill(ingest, signal.SIGSTOP)
        ended = process.wait_for(r"take 0 ended after (\d+) frames; frame (\d+) and all later ones are not recorded")
        process.wait_for(r"^! log ring full: \d+ MB \(\d\.\d s\) wait for the writer")
        os.kill(ingest, signal.SIGCONT)
        process.finish()
        frames = int(ended.group(1))
        assert ended.group(2) == ended.group(1)
        assert process.wait_for(r"take 0: aborted, (\d+) frames", 0).group(1) == str(frames)
        process.wait_for(r"take 1: committed as episode 0 of the dataset", 0)
        process.wait_for(r"^! spill file full: .*--publisher.spill_max_gb are in use", 0)
    # What was published of the aborted take is in its journal, for `onbeat recover`.
    left = list(tmp_path.glob("ds.onbeat/sessions/*/aborted/e000000"))
    assert len(left) == 1
    assert_nothing_spilled_remains(tmp_path)


def test_all_killed_but_the_publisher_leaves_what_it_holds_on_disk(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with record(root, tmp_path, "--publisher.give_up_s=1", "--dataset.num_episodes=1") as process:
        process.wait_for("state: recording")
        os.kill(process.pid_of("writer.ingest"), signal.SIGSTOP)
        process.wait_for(r"the oldest go to the spill file")
        publisher = process.pid_of("transport.publisher")
        others = [pid for pid in process.members() if pid != publisher]
        pidfd = os.pidfd_open(publisher)
        for pid in others:
            os.kill(pid, signal.SIGKILL)
        assert select.select([pidfd], [], [], 60)[0], "the publisher is still there"
        os.close(pidfd)
        said = process.wait_for(r"(\d+) undelivered records are in (\S+) for `onbeat recover`", 10)
    folder = Path(said.group(2))
    about = json.loads((folder / "session.json").read_text())
    assert about["state"] == "left"
    assert about["dataset"]["root"] == str(root)
    assert re.search(r"the writer made no progress for 1 s", about["reason"])
    assert list(folder.glob("*.spill"))

"""A session with an operator: start gate, undo, tasks, foot pedal and spoken cues, all the way into the dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onbeat_process as run
import outcome
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LONG = ("--teleop.type=none", "--dataset.episode_time_s=60", "--env.kwargs={width: 64, height: 48, max_episode_s: 100}")


@pytest.fixture
def pedal(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe in the place of an event file, and its other end."""
    path = tmp_path / "pedal"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    yield path, fd
    os.close(fd)


def tasks_by_stock(root: Path) -> list[str]:
    """The task of every row, as stock LeRobot reads it with its pictures; one for each episode."""
    dataset = LeRobotDataset("local/test", root=root, video_backend="pyav")
    found: list[list[str]] = []
    for index in range(len(dataset)):
        row = dataset[index]
        if int(row["episode_index"]) == len(found):
            found.append([])
        found[-1].append(row["task"])
    assert all(len(set(tasks)) == 1 for tasks in found)
    return [tasks[0] for tasks in found]


def frames_of(process: run.OnbeatProcess, take: int) -> None:
    process.wait_for(rf"state: recording .*\(take {take}\)")


def at_gate(process: run.OnbeatProcess, take: int) -> None:
    process.wait_for(rf"state: waiting for the start .*\(take {take}\)")


def test_gate_undo_pedal_tasks_and_voice(tmp_path: Path, terminal: tuple[int, int], pedal: tuple[Path, int]) -> None:
    person, command = terminal
    path, foot = pedal
    speaker = tmp_path / "bin" / "spd-say"
    speaker.parent.mkdir()
    speaker.write_text(f'#!/bin/sh\necho "$2" >> {tmp_path}/heard\n')
    speaker.chmod(0o755)
    root = tmp_path / "ds"
    flags = (
        *run.QUICK, *LONG, f"--dataset.root={root}", "--dataset.num_episodes=2", "--session.start=key",
        "--session.review_last=true", "--session.ask_task=true", f"--keys.devices=[{path}]",
    )  # fmt: skip
    environment = {"PATH": f"{speaker.parent}:{os.environ['PATH']}"}
    with run.OnbeatProcess([run.ONBEAT, "record", *flags], tmp_path, stdin=command, environment=environment) as process:
        process.wait_for(r"type the task of take 0 \(Enter: Bring the cube to the target\)")
        # Keys of the terminal that can be printed belong to the line, those of the pedal do not.
        run.step_on(foot, "KEY_B")
        os.write(person, "nq grün\n".encode())
        frames_of(process, 0)
        run.step_on(foot, "KEY_B")
        process.wait_for(r"type the task of take 1 \(Enter: nq grün\)")
        os.write(person, b"\n")
        at_gate(process, 1)
        os.write(person, b"u")
        process.wait_for("take 0 will be discarded")
        os.write(person, b" ")
        frames_of(process, 1)
        os.write(person, b"s")
        process.wait_for("type the task of take 2")
        os.write(person, b"stack\r")
        at_gate(process, 2)
        os.write(person, b" ")
        frames_of(process, 2)
        os.write(person, b"n")
        process.wait_for(r"the last episode is recorded.*\(take 2\)")
        os.write(person, b"u")
        process.wait_for(r"type the task of take 3 \(Enter: stack\)")
        os.write(person, b"stack higher\n")
        at_gate(process, 3)
        os.write(person, b" ")
        frames_of(process, 3)
        os.write(person, b"f")
        process.wait_for(r"the last episode is recorded.*\(take 3\)")
        run.step_on(foot, "KEY_PAGEDOWN")
        assert process.finish() == 0, process.output
        process.wait_for(r"^episodes  2 \(2 discarded\)", 0)
    outcome.assert_whole(root, episodes=2)
    assert tasks_by_stock(root) == ["nq grün", "stack higher"]
    data = outcome.rows(root)
    last = [(data["episode_index"] == episode).nonzero()[0][-1] for episode in (0, 1)]
    assert data["next.reward"][last].tolist() == [1.0, 0.0]
    # Frame 0 is the first after the start, on a grid of its own.
    for episode in (0, 1):
        outcome.assert_no_slot_lost(root, episode, fps=30)
    heard = (tmp_path / "heard").read_text().splitlines()
    ready = ["Ready", "Recording episode 0", "Ready", "Re-record episode", "Recording episode 0", "Ready"]
    review = ["Recording episode 1", "Keep the last episode?"]
    assert heard == [*ready, *review, "Ready", "Re-record episode", *review, "Stop recording"]


def test_tasks_of_a_file_go_round(tmp_path: Path) -> None:
    root, tasks = tmp_path / "ds", tmp_path / "tasks.txt"
    tasks.write_text("pick the cube\n\n  place it – gently \n")
    flags = ("--dataset.num_episodes=3", "--dataset.episode_time_s=0.3", f"--dataset.tasks_file={tasks}")
    with run.record(root, tmp_path, *flags) as process:
        assert process.finish() == 0, process.output
    outcome.assert_whole(root, episodes=3)
    assert tasks_by_stock(root) == ["pick the cube", "place it – gently", "pick the cube"]
    assert set(outcome.rows(root)["task_index"].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--session.ask_task=true"], "--session.ask_task=true found without a terminal; give --dataset.tasks_file"),
        (["--session.start=key"], "found without a terminal and without --keys.devices: nobody could press a key"),
        (["--keys.devices=[/dev/input/none]"], "--keys.devices: /dev/input/none cannot be opened"),
    ],
)
def test_what_nobody_could_do_is_refused_before_anything_starts(tmp_path: Path, flags: list[str], says: str) -> None:
    with run.record(tmp_path / "ds", tmp_path, *flags) as process:
        assert process.finish() == 2
        assert says in process.output
        assert len(process.output.splitlines()) == 1
    assert not (tmp_path / "ds").exists()

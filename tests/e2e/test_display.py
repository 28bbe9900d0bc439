"""`--display_data`: a real Rerun server, without a window, keeps what it is shown; a display may die at any time."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onbeat_process as run
import outcome
import pytest
import rerun_cli
from numpy.typing import NDArray
from rerun.experimental import RrdReader

from control.envs import frame_code

FPS = 10
VIEWER = Path(rerun_cli.__file__).with_name("rerun")
FLAGS = (
    "--dataset.num_episodes=2", f"--dataset.fps={FPS}", "--env.seed=1", "--dataset.rgb_encoder.vcodec=h264",
    "--dataset.rgb_encoder.crf=10", "--display_data=true", "--teleop.type=none",
    "--env.kwargs={width: 160, height: 120, cameras: 1, max_episode_s: 100}",
)  # fmt: skip


def shown(path: Path) -> list[tuple[str, Any]]:
    """Everything that the viewer got, in order: entity and value, pictures as arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file that a server was still writing has no index
        chunks = list(RrdReader(str(path)).stream().to_chunks())
    found: list[tuple[str, Any]] = []
    for chunk in chunks:
        values = chunk.to_record_batch().to_pydict()
        for index in range(chunk.num_rows):
            if "Image:buffer" in values:
                form = values["Image:format"][index][0]
                flat = np.array(values["Image:buffer"][index][0], np.uint8)
                found.append((chunk.entity_path, flat.reshape(form["height"], form["width"], 3)))
            elif "Scalars:scalars" in values:
                found.append((chunk.entity_path, values["Scalars:scalars"][index]))
    return found


def error(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> float:
    return float(np.abs(left.astype(int) - right).mean())


@pytest.mark.acceptance
def test_what_is_shown_is_what_is_recorded_and_a_dead_display_costs_nothing(tmp_path: Path) -> None:
    root, kept, pid = tmp_path / "ds", tmp_path / "shown.rrd", tmp_path / "pid"
    # lerobot starts the program `rerun`; this one is it, with a file in the place of the window.
    program = tmp_path / "bin" / "rerun"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {VIEWER} "$@"\necho $$ > {pid}\nexec {VIEWER} "$@" --save {kept}\n'
    )
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    flags = (*FLAGS, f"--dataset.root={root}", "--dataset.episode_time_s=25")
    try:
        with run.OnbeatProcess([run.ONBEAT, "record", *flags], tmp_path, environment=environment) as process:
            process.wait_for("display: rerun")
            preview = process.pid_of("control.lerobot_preview")
            assert os.sched_getscheduler(preview) == os.SCHED_OTHER
            process.wait_for(r"state: recording .*\(take 1\)")
            os.kill(preview, signal.SIGKILL)
            process.wait_for("the display ended with code -9; the recording goes on without it")
            assert process.finish() == 0, process.output
    finally:
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)
    outcome.assert_whole(root, episodes=2)
    for episode in (0, 1):
        outcome.assert_no_slot_lost(root, episode, FPS)

    data = outcome.rows(root)
    videos = outcome.decode(next(root.glob("videos/*/chunk-000/file-000.mp4")))
    first = int((data["episode_index"] == 0).sum())
    pictures = [value for entity, value in shown(kept) if isinstance(value, np.ndarray) and value.ndim == 3]
    numbers = [code[0] for picture in pictures if (code := frame_code.read(picture)) is not None]
    assert len(numbers) == len(pictures) >= 10
    of_first = [n for i, n in enumerate(numbers) if n == max(numbers[: i + 1])]
    assert of_first == sorted(set(of_first)), "the newest each time, none twice"
    for number, picture in zip(of_first, pictures, strict=False):
        if number < first:
            own = error(picture, videos[number])
            assert own < 4, f"frame {number} differs by {own}"
    recorded = {tuple(row) for row in data["observation.state"].astype(np.float64)}
    by_name: dict[str, list[float]] = {}
    for entity, value in shown(kept):
        if entity.startswith("/observation.") and not isinstance(value, np.ndarray) and len(value) == 1:
            by_name.setdefault(entity, []).append(float(value[0]))
    names = outcome.info(root)["features"]["observation.state"]["names"]
    rows = list(zip(*(by_name[f"/observation.{name}"] for name in names), strict=False))
    assert len(rows) >= 10
    assert set(rows) <= recorded, "a state is shown that was not recorded"


@pytest.mark.acceptance
@pytest.mark.parametrize("mode", ["rerun", "foxglove"])
def test_a_viewer_that_cannot_be_started_is_told(tmp_path: Path, mode: str) -> None:
    root = tmp_path / "ds"
    # Neither a program to start nor an address to listen at.
    where = [] if mode == "rerun" else ["--display_ip=192.0.2.1"]
    flags = (
        *FLAGS,
        f"--dataset.root={root}",
        "--dataset.episode_time_s=20",
        f"--display_mode={mode}",
        *where,
        "--dataset.num_episodes=1",
    )
    environment = {"PATH": str(tmp_path)}
    with run.OnbeatProcess(
        [run.ONBEAT, "record", *flags, "--dataset.num_episodes=1"], tmp_path, environment=environment
    ) as process:
        process.wait_for(r"the display ended: .*; the recording goes on without it")
        os.kill(process.pid, signal.SIGINT)
        assert process.finish() == 0, process.output
    outcome.assert_whole(root, episodes=1)

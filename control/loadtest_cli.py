"""`onbeat loadtest`: certify a machine by recording a load as heavy as the real one, without a robot.

The loop, the log ring and the publisher are those of `onbeat record`; cameras and bus are simulated, or the frames of a
recorded dataset are replayed. Exit code 1 when a limit was exceeded or something went wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import draccus
import numpy as np

from control.control_handle import ControlHandle
from control.load_config import LoadConfig
from control.load_display import LoadDisplay
from control.load_figures import figures
from control.load_outcome import LoadOutcome
from control.load_plan import LoadPlan, as_recording, plan_load
from control.load_trace import TickTrace
from control.naming import lerobot_home, supervisor_settings
from control.summary import Summary
from control.supervisor import Supervisor
from transport import flags
from transport.errors import OnbeatError, UsageError
from transport.link import Link, spawn
from transport.replay import ReplayLayout

_FRAME_READER = "control.envs.frame_code:read"


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code: 0 within the limits, 1 not, 2 something asked for that cannot be."""
    try:
        config = flags.parse(LoadConfig, argv, prog="onbeat loadtest", about=__doc__)
    except UsageError as error:
        return flags.fail(error)
    return flags.report(lambda: _run(config), debug=config.debug)


def _run(config: LoadConfig) -> int:
    load = config.load
    layout, replay_fds = (None, []) if load.dataset is None else _decode(Path(load.dataset), load.episodes)
    plan = plan_load(load, layout)
    with _place(config) as root:
        outcome, ticks = _record(config, plan, layout, replay_fds, root)
    print("\n".join(outcome.lines()))
    if load.ticks is not None:
        np.save(load.ticks, ticks)
    exceeded = outcome.exceeded(load)
    if load.figures is not None:
        Path(load.figures).write_text(json.dumps({**outcome.to_json(), "exceeded": exceeded}, indent=1) + "\n")
    for line in exceeded:
        print(f"limit exceeded: {line}", file=sys.stderr)
    return 1 if exceeded or outcome.problems else 0


def _record(
    config: LoadConfig, plan: LoadPlan, layout: ReplayLayout | None, replay_fds: list[int], root: str | None
) -> tuple[LoadOutcome, Any]:
    load = config.load
    sink: Link | None = None
    address = config.writer.address
    if load.sink is None:
        address = f"ipc://@onbeat-load-{os.getpid()}"
        _, sink = spawn("control.load_sink", {"address": address, "numbered": layout is None})
        if sink.receive(timeout_s=30) is None:
            raise OnbeatError("the null sink ended before it listened")
    recording = as_recording(config, plan, root=root, address=address)
    settings = supervisor_settings(recording, datetime.now())
    # An episode that is aborted is taken again.
    trace = TickTrace.create(2 * plan.ticks)
    process, link = spawn(
        "control.load_process",
        {
            "config": draccus.encode(config),
            "recording": draccus.encode(recording),
            "fps": plan.fps,
            "episode_frames": plan.episode_frames[0],
            "layout": None if layout is None else layout.to_wire(),
        },
        [trace.fd, *replay_fds],
        die_with_parent=signal.SIGTERM,
    )
    display = LoadDisplay(len(plan.episode_frames))
    summary = Supervisor(settings, ControlHandle(link, os.pidfd_open(process.pid), process), display).run()
    ticks = trace.ticks()
    if len(ticks) == 0:
        raise OnbeatError(summary.problems[0] if summary.problems else "the load ended before its first tick")
    cameras = load.cameras if layout is None else len(layout.schema.pictures)
    good, counted, problem = _count(config, sink, summary, root, len(ticks), numbered=layout is None, cameras=cameras)
    outcome = LoadOutcome(
        fps=plan.fps,
        figures=figures(ticks, plan.fps),
        ring_bytes=display.ring_bytes,
        writer_lag_s=display.lag_records / plan.fps,
        pictures_lost=None if good is None else len(ticks) * cameras - good,
        counted=counted,
        problems=(*summary.problems, *([problem] if problem else [])),
        protections=dict(display.obtained),
    )
    return outcome, ticks


def _count(
    config: LoadConfig,
    sink: Link | None,
    summary: Summary,
    root: str | None,
    frames: int,
    *,
    numbered: bool,
    cameras: int,
) -> tuple[int | None, str, str]:
    """Pictures that arrived, how that is known, and what went wrong in finding out."""
    if sink is not None:
        received = sink.receive(timeout_s=30)
        if received is None:
            return None, "the null sink did not tell", "the null sink ended before it told what it received"
        return sum(received[0]["result"]["good_pictures"].values()), "by number, as the null sink received them", ""
    if root is None:
        return summary.frames * cameras - summary.missing_frames, "by packets, as the writer counted them", ""
    if not config.load.check:
        return None, "--load.check=false", ""
    if not summary.episodes:
        return 0, "nothing was committed", ""
    reader = _FRAME_READER if numbered else None
    _, link = spawn("writer.frame_check", {"root": root, "frames": frames, "reader": reader})
    answer = link.receive()
    if answer is None or "failed" in answer[0]:
        return None, "decoding failed", "the check ended early" if answer is None else answer[0]["failed"]
    how = "by decoding, each by its number" if numbered else "by decoding, each at its time"
    return sum(answer[0]["good_pictures"].values()), how, ""


def _decode(root: Path, episodes: list[int] | None) -> tuple[ReplayLayout, list[int]]:
    print(f"decoding {root} into memory", flush=True)
    _, link = spawn("writer.replay_frames", {"root": str(root), "episodes": episodes})
    answer = link.receive()
    if answer is None:
        raise OnbeatError(f"decoding {root} ended early")
    message, fds = answer
    if "failed" in message:
        raise (UsageError if message["exit_code"] == 2 else OnbeatError)(message["failed"])
    return ReplayLayout.from_wire(message["layout"]), fds


@contextmanager
def _place(config: LoadConfig) -> Iterator[str | None]:
    """The folder of the dataset: the one asked for, or one that is removed afterwards; None where a sink needs none."""
    if config.load.sink is None:
        if config.writer.address is not None or config.dataset.root is not None:
            raise UsageError("--load.sink=null keeps nothing; leave --writer.address and --dataset.root away")
        yield None
    elif config.dataset.root is not None or config.writer.address is not None:
        yield config.dataset.root
    else:
        home = lerobot_home()
        home.mkdir(parents=True, exist_ok=True)
        parent = tempfile.mkdtemp(prefix="loadtest-", dir=home)
        try:
            yield f"{parent}/dataset"
        finally:
            shutil.rmtree(parent, ignore_errors=True)

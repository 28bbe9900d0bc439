"""Long runs: a good session beside fuzz, and one of half an hour."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.drills.fuzz import fuzzing
from scripts.drills.registry import Result, drill
from scripts.drills.remote import remote_writer
from scripts.drills.stage import SLOW, Stage

_FLAT_BYTES = 64 << 20


def _own_bytes(pid: int) -> int:
    """What a process keeps for itself: the ring, which it shares, fills as it is used and is no leak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} is gone")


def _watch(stage: Stage, seconds: float, processes: dict[str, int]) -> None:
    """The memory of each, by its name, from when it has warmed up until the end."""
    warm = {name: _own_bytes(pid) for name, pid in processes.items()}
    highest = dict(warm)
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        time.sleep(1)
        highest = {name: max(highest[name], _own_bytes(pid)) for name, pid in processes.items()}
    for name in processes:
        stage.notes.append(f"{name} {warm[name] >> 20} MB warm, {highest[name] >> 20} MB at most")
        stage.expect(
            highest[name] - warm[name] <= _FLAT_BYTES,
            f"{name} grew from {warm[name] >> 20} to {highest[name] >> 20} MB",
        )


@drill("fuzz")
def fuzz(stage: Stage) -> Result:
    """Random bytes, mutated messages, endless multipart and 5000 idle connections for 60 s beside a good session."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=14, local=False) as run:
        run.tap.wait_frames(1, 1)
        with fuzzing(far.port, stage.rng, 5000) as counts:
            _watch(stage, 60, {"ingest": far.writer.pid_of("writer.ingest")})
        stage.notes.append(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
        code = run.process.finish(150)
        run.process.drain()
        stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}\n{far.writer.output}")
        return stage.judge(roots=[far.root])


@drill("soak", soak=True)
def soak(stage: Stage) -> Result:
    """Half an hour of episodes; memory stays flat."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=280, local=False) as run:
        # Before its first commits are over, the committer has not even imported all that it needs.
        run.process.wait_for(r"take 3: committed", 120)
        near = {"control": "control.process", "publisher": "transport.publisher"}
        distant = {"ingest": "writer.ingest", "committer": "writer.committer"}
        _watch(
            stage,
            1800,
            {"supervisor": run.process.pid, "writer parent": far.writer.pid}
            | {name: run.process.pid_of(module) for name, module in near.items()}
            | {name: far.writer.pid_of(module) for name, module in distant.items()},
        )
        code = run.process.finish(900)
        run.process.drain()
        stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}")
        return stage.judge(roots=[far.root])

"""Long runs: a good session beside fuzz, and one of half an hour."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.drills.fuzz import fuzzing
from scripts.drills.process import OnbeatProcess
from scripts.drills.registry import Result, drill
from scripts.drills.remote import remote_writer
from scripts.drills.stage import SLOW, Run, Stage

_FLAT_BYTES = 64 << 20


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def _memory(process: OnbeatProcess) -> int:
    return _resident_bytes(process.pid_of("writer.ingest"))


def _watch(stage: Stage, run: Run, writer: OnbeatProcess, seconds: float) -> None:
    """Ingest's memory, from when it has warmed up until the end."""
    ingest = writer.pid_of("writer.ingest")
    warm = _memory(writer)
    deadline_s, highest = time.monotonic() + seconds, warm
    while time.monotonic() < deadline_s:
        time.sleep(1)
        highest = max(highest, _memory(writer))
    stage.notes.append(f"ingest {warm >> 20} MB warm, {highest >> 20} MB at most")
    stage.expect(writer.pid_of("writer.ingest") == ingest, f"ingest was started again:\n{writer.output}")
    stage.expect(highest - warm <= _FLAT_BYTES, f"ingest grew from {warm >> 20} to {highest >> 20} MB")


@drill("fuzz")
def fuzz(stage: Stage) -> Result:
    """Random bytes, mutated messages, endless multipart and 5000 idle connections for 60 s beside a good session."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=14, local=False) as run:
        run.tap.wait_frames(1, 1)
        with fuzzing(far.port, stage.rng, 5000) as counts:
            _watch(stage, run, far.writer, 60)
        stage.notes.append(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
        code = run.process.finish(150)
        run.process.drain()
        stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}\n{far.writer.output}")
        return stage.judge(roots=[far.root])


@drill("soak", soak=True)
def soak(stage: Stage) -> Result:
    """Half an hour of episodes; memory stays flat."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=280, local=False) as run:
        run.tap.wait_frames(1, 5)
        _watch(stage, run, far.writer, 1500)
        code = run.process.finish(900)
        run.process.drain()
        stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}")
        return stage.judge(roots=[far.root])

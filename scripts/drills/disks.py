"""Disks that are full or slow."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from scripts.drills.registry import Result, drill
from scripts.drills.stage import SLOW, Stage
from writer.leftovers import sessions
from writer.resume import read_episode


@contextmanager
def small_disk(stage: Stage, mib: int, name: str = "disk") -> Iterator[Path]:
    """A file system of so many MiB, gone afterwards. Needs the right to mount."""
    folder = stage.folder / name
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path, leave_bytes: int) -> Path:
    """Take all but `leave_bytes` of the disk, which others write to meanwhile."""
    filler = folder / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    size, step = 0, 64 << 20
    try:
        while step >= 4096:
            found = os.statvfs(folder)
            if found.f_bavail * found.f_frsize < leave_bytes + step:
                step //= 2
                continue
            try:
                os.posix_fallocate(fd, size, step)
            except OSError:
                step //= 2
            else:
                size += step
    finally:
        os.close(fd)
    return filler


@drill("disk-full-floor", fast=True)
def disk_full_floor(stage: Stage) -> Result:
    """The writer's disk falls below the floor: the session ends cleanly, the episode is kept."""
    with small_disk(stage, 700) as disk:
        with stage.record(SLOW, "--writer.min_free_gb=0.3", episodes=2, root=disk / "ds") as run:
            run.tap.wait_frames(60, 1)
            filler = _fill(disk, 64 << 20)
            code = run.process.finish()
            run.process.drain(60)
            stage.expect(code == 1, f"the recorder ended with {code}, expected 1")
            stage.expect("GB left" in run.process.output, f"nothing was said:\n{run.process.output}")
        filler.unlink()
        return stage.judge(roots=[disk / "ds"])


@drill("disk-full-hard", may_lose="frames after the disk refused; the episode names them")
def disk_full_hard(stage: Stage) -> Result:
    """The writer's disk is full to the last byte, without a floor: one line, an orderly end, nothing before is lost."""
    with small_disk(stage, 700) as disk:
        with stage.record(SLOW, "--writer.min_free_gb=0", episodes=3, root=disk / "ds") as run:
            run.tap.wait_frames(60, 1)
            filler = _fill(disk, 0)
            code = run.process.finish(150)
            run.process.drain(60)
            output = run.process.output
            stage.expect(code == 1, f"the recorder ended with {code}, expected 1:\n{output}")
            stage.expect("No space left" in output, f"nothing was said:\n{output}")
            stage.expect("Traceback" not in output, f"a traceback:\n{output}")
        filler.unlink()
        return stage.judge(roots=[disk / "ds"])


@drill("disk-full-at-verdict", may_lose="frames of the next episode, which the disk does not take; it names them")
def disk_full_at_verdict(stage: Stage) -> Result:
    """The disk fills in the reset phase; the verdict is the first write that it refuses, and the episode is kept."""
    with small_disk(stage, 700) as disk:
        flags = ("--writer.min_free_gb=0", "--dataset.reset_time_s=10")
        with stage.record(*flags, episodes=2, root=disk / "ds") as run:
            run.process.wait_for("state: reset phase")
            frames = _ended_with(disk / "ds")
            filler = _fill(disk, 0)
            code = run.process.finish(150)
            run.process.drain(60)
            output = run.process.output
            stage.expect(code == 1, f"the recorder ended with {code}, expected 1:\n{output}")
            stage.expect("No space left" in output, f"nothing was said:\n{output}")
            stage.expect("Traceback" not in output, f"a traceback:\n{output}")
        filler.unlink()
        result = stage.judge(roots=[disk / "ds"])
        return replace(result, passed=result.passed and result.durable >= frames)


def _ended_with(root: Path, limit_s: float = 60) -> int:
    """Wait until the end of the session's first episode is on the disk; its frames."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        for session in sessions(root):
            joined = read_episode(session, 0, "recording")
            if joined is not None and joined.ended is not None:
                return joined.ended.frames
        time.sleep(0.1)
    raise TimeoutError(f"the first episode beside {root} did not end within {limit_s:g} s")


@drill("disk-full-while-committing")
def disk_full_while_committing(stage: Stage) -> Result:
    """The disk is full when the episode is to be committed: its journal waits for `onbeat recover`."""
    marks = stage.folder / "marks"
    marks.mkdir()
    fault = {"ONBEAT_DRILL": json.dumps({"hold_commit": str(marks)})}
    with small_disk(stage, 700) as disk:
        with stage.record("--writer.min_free_gb=0", root=disk / "ds", fault=fault) as run:
            _wait_for(marks / "there")
            filler = _fill(disk, 0)
            (marks / "go").touch()
            run.process.finish(150)
            run.process.drain(60)
        filler.unlink()
        return stage.judge(roots=[disk / "ds"])


def _wait_for(path: Path, limit_s: float = 90) -> None:
    deadline_s = time.monotonic() + limit_s
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{path} did not appear within {limit_s:g} s")
        time.sleep(0.02)


@drill("slow-disk")
def slow_disk(stage: Stage) -> Result:
    """A write to the journal takes five seconds; the ring takes what comes meanwhile."""
    fault = {"ONBEAT_DRILL": json.dumps({"stall_sync": {"after_s": 6, "stall_s": 5}})}
    with stage.record(SLOW, "--publisher.ring_s=10", episodes=2, fault=fault) as run:
        code = run.process.finish()
        run.process.drain(60)
        stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}")
    return stage.judge()

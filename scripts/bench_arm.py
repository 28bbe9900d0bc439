"""What cameras add to an arm's loop, and how old its observations are, beside stock: `make bench-arm`.

An emulated SO-101 leader and follower with lerobot's own drivers, and two `testfile` cameras of 640x480. Four sessions
with the same flags: onbeat without cameras, onbeat with them, stock lerobot-record with them, and onbeat while 1 % of
all reads of the positions get no answer. Prints a table, decodes what onbeat recorded, and writes out/bench_arm.json.
Exits 1 when a verdict is not met. Ten minutes; --quick takes two.

What this favours: onbeat as root, which gets the real-time priority that it asks for. The arms answer at the speed of a
1 Mbaud bus but run on this machine: keep them off the processors that are measured (--cores, --arm_cores).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from scripts.bench_kit.arm_figures import ArmSession, all_met, session, verdicts
from scripts.drills.process import ONBEAT, OnbeatProcess
from scripts.emulators.rig import Rig, arm_flags, make_rig
from writer.verify import verify

_SILENT = 0.01
_START_S = 120
_ATTEMPTS = 3
_COLUMNS = ("", "ticks", "late p50", "p99", "p99.9", "max", "missed", "age p50", "p99", "failed", "silent", "stale")


@dataclass(frozen=True)
class Bench:
    """Runs sessions on one rig; everything measured stays on `cores`."""

    rig: Rig
    folder: Path
    cores: frozenset[int]
    encoder: tuple[str, ...]

    def onbeat(self, name: str, ticks: int, *, cameras: bool = True, silent: float = 0.0) -> ArmSession:
        """`onbeat record` with a local writer.

        Raises:
            RuntimeError: it failed, each time.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._onbeat(name, ticks, cameras=cameras, silent=silent)
            except (RuntimeError, AssertionError):
                # On a busy machine an emulated arm may miss the driver's 50 ms while it connects.
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _onbeat(self, name: str, ticks: int, *, cameras: bool, silent: float) -> ArmSession:
        root = self._root()
        flags = [
            *self._flags(root, ticks, cameras=cameras),
            "--writer.allow_slow=true",
            "--timing.allow_slow_cameras=true",
        ]
        since = self._since()
        with (
            _on(self.cores),
            OnbeatProcess([ONBEAT, "record", *flags], self.folder) as process,
        ):
            process.wait_for("state: recording", _START_S)
            self._keep_silent(silent)
            code = process.finish(ticks / self.rig.fps + _START_S)
            self._keep_silent(0)
            if code:
                raise RuntimeError(f"{name} ended with {code}:\n{process.output}")
        result = verify(root)
        problems = [*result.problems, *(problem for episode in result.episodes for problem in episode.problems)]
        table = pyarrow.parquet.read_table(root / "meta/onbeat/episode-000000.parquet")
        told = {
            column.removeprefix("onbeat."): np.array(table[column].to_pylist())
            for column in table.column_names
            if column.startswith("onbeat.")
        }
        return replace(self._session(name, told, since), problems=problems)

    def stock(self, name: str, ticks: int) -> ArmSession:
        """`lerobot-record`, streaming.

        Raises:
            RuntimeError: it failed, each time.
        """
        for _ in range(_ATTEMPTS):
            since = self._since()
            with _on(self.cores):
                run = subprocess.run(
                    [str(Path(sys.executable).with_name("lerobot-record")), *self._flags(self._root(), ticks)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "HF_HUB_OFFLINE": "1"},
                    timeout=2 * ticks / self.rig.fps + _START_S,
                    check=False,
                )
            if not run.returncode:
                return self._session(name, None, since)
        raise RuntimeError(f"{name} ended with {run.returncode}:\n{run.stdout[-3000:]}")

    def _flags(self, root: Path, ticks: int, *, cameras: bool = True) -> list[str]:
        rig = self.rig
        return [
            *rig.robot_flags,
            *(rig.camera_flags() if cameras else ()),
            *arm_flags("teleop", "so101_leader", rig.leader),
            "--dataset.repo_id=me/bench",
            "--dataset.no_stamp=true",
            "--dataset.single_task=Pick the cube",
            f"--dataset.root={root}",
            f"--dataset.fps={rig.fps}",
            "--dataset.num_episodes=1",
            f"--dataset.episode_time_s={ticks / rig.fps}",
            "--dataset.reset_time_s=0",
            "--dataset.push_to_hub=false",
            "--dataset.streaming_encoding=true",
            "--play_sounds=false",
            *self.encoder,
        ]

    def _root(self) -> Path:
        root = self.folder / "dataset"
        for folder in (root, root.with_name(f"{root.name}.onbeat")):
            shutil.rmtree(folder, ignore_errors=True)
        return root

    def _since(self) -> tuple[int, int]:
        return self.rig.follower.next_number(), self.rig.leader.next_number()

    def _keep_silent(self, fraction: float) -> None:
        for arm in (self.rig.follower, self.rig.leader):
            arm.ask("faults", silence=fraction, instructions=["sync_read"])

    def _session(self, name: str, told: dict[str, NDArray[Any]] | None, since: tuple[int, int]) -> ArmSession:
        follower, leader = self.rig.follower, self.rig.leader
        reads = follower.accesses("read", "Present_Position", since[0])
        leader_reads = leader.accesses("read", "Present_Position", since[1])
        goals = follower.accesses("write", "Goal_Position", since[0])
        return session(name, self.rig.fps, told, reads, leader_reads, goals)


def main() -> int:
    """Entry of the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="600 ticks a session: two minutes, no p99.9")
    parser.add_argument("--cores", default="0,1", help="processors of everything measured (default: 0,1)")
    parser.add_argument("--arm_cores", default="", help="processors of the emulated arms (default: all others, if any)")
    parser.add_argument("--fps", type=int, default=60, help="default: 60")
    parser.add_argument("--vcodec", default="h264", help="for both, in its fastest form (default: h264)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results (default: out)")
    given = parser.parse_args()
    allowed = os.sched_getaffinity(0)
    cores = _cores(given.cores)
    arm_cores = _cores(given.arm_cores) if given.arm_cores else (frozenset(allowed) - cores or cores)
    if not cores | arm_cores <= allowed:
        parser.error(f"--cores={given.cores} --arm_cores={given.arm_cores} found, allowed are {sorted(allowed)}")
    preset = {"h264": "ultrafast", "hevc": "ultrafast", "libsvtav1": "12"}.get(given.vcodec)
    encoder = [f"--dataset.rgb_encoder.vcodec={given.vcodec}"]
    encoder += [f"--dataset.rgb_encoder.preset={preset}"] if preset else []
    ticks, stock_ticks, silent_ticks = (600, 600, 600) if given.quick else (10_000, 2_000, 3_000)
    with tempfile.TemporaryDirectory(prefix="arm") as name:
        folder = Path(name)
        with contextlib.ExitStack() as stack:
            with _on(arm_cores):
                rig = stack.enter_context(make_rig(folder, fps=given.fps, width=640, height=480))
            bench = Bench(rig, folder, cores, tuple(encoder))
            without = _said(bench.onbeat("onbeat without cameras", ticks, cameras=False))
            with_cameras = _said(bench.onbeat("onbeat", ticks))
            stock = _said(bench.stock("lerobot-record", stock_ticks))
            silent = _said(bench.onbeat("onbeat, 1 % silent", silent_ticks, silent=_SILENT))
    lines = verdicts(without, with_cameras, stock, silent, given.fps)
    print("\n".join(lines))
    given.out.mkdir(parents=True, exist_ok=True)
    found = {
        "fps": given.fps,
        "vcodec": given.vcodec,
        "cores": sorted(cores),
        "arm_cores": sorted(arm_cores),
        "sessions": [asdict(each) for each in (without, with_cameras, stock, silent)],
        "verdicts": lines,
    }
    (given.out / "bench_arm.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all_met(lines) else 1


def _said(found: ArmSession) -> ArmSession:
    """Print a session's line, the first with a headline (times in µs)."""
    if "without" in found.name:
        print(f"{_COLUMNS[0]:<24}" + "".join(f"{title:>9}" for title in _COLUMNS[1:]) + "   (µs)", flush=True)
    late, age = found.lateness, found.age
    values: list[float | None] = [
        found.ticks,
        *((late.p50, late.p99, late.p999, late.max, found.missed_slots) if late else (None,) * 5),
        *((age.p50, age.p99) if age else (None, None)),
        *((found.failed_reads, found.silent_reads, found.stale) if late else (None,) * 3),
    ]
    print(f"{found.name:<24}" + "".join(f"{'-' if v is None else f'{v:.0f}':>9}" for v in values), flush=True)
    return found


@contextlib.contextmanager
def _on(cores: frozenset[int]) -> Iterator[None]:
    """What is started in this block stays on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cores(text: str) -> frozenset[int]:
    return frozenset(int(core) for core in text.split(","))


if __name__ == "__main__":
    raise SystemExit(main())

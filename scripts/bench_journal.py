"""What journal, checksums and fsync cost ingest: `python -m scripts.bench_journal [--seconds=20] [--repeats=3]`.

A load of 4 cameras of 640x480 at 60 fps, h264, is recorded into a local writer as it is and, alternating with that,
without all three (`bench_kit/without_journal`). What counts is the processor time of the ingest process in the middle
of the recording, for each second of it; both keep the rate, so both have encoded the same pictures. The target is a
share of at most 15 %; exit code 1 above it.

Bias: a packet that is journalled is still in the processor's cache; on a slower disk fsync waits longer, which costs
time but no processor.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

_REPOSITORY = Path(__file__).resolve().parents[1]
_WITHOUT = Path(__file__).with_name("bench_kit") / "without_journal"
_PATCHES = Path(__file__).with_name("late_patches")
_TARGET = 0.15
_START_LIMIT_S = 60.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured in each run (default: 20)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--cores", default="0,1", help="processors for everything measured (default: 0,1)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for bench_journal.json (default: out)")
    given = parser.parse_args()
    os.sched_setaffinity(0, {int(core) for core in given.cores.split(",")})
    used: dict[str, list[float]] = {"as it is": [], "without": []}
    for number in range(1, given.repeats + 1):
        for what, values in used.items():
            values.append(_ingest_cpu(without=what == "without", seconds=given.seconds))
            print(f"run {number}, {what}: ingest uses {values[-1]:.3f} s of processor time a second", flush=True)
    whole, less = median(used["as it is"]), median(used["without"])
    share = (whole - less) / whole
    print(
        f"journal, checksums and fsync: {share:.1%} of ingest's {whole:.3f} s a second (target: at most {_TARGET:.0%})"
    )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "bench_journal.json").write_text(json.dumps({"cpu_s_per_s": used, "share": share}, indent=1) + "\n")
    return 0 if share <= _TARGET else 1


def _ingest_cpu(*, without: bool, seconds: float) -> float:
    """Processor seconds of ingest for each second of recording, after the first three."""
    with tempfile.TemporaryDirectory(prefix="bench-journal-") as folder:
        flags = {
            "load.cameras": 4, "load.width": 640, "load.height": 480, "load.fps": 60, "load.step_ms": 4,
            "load.joints": 6,
            "load.duration_s": seconds + 60, "load.check": "false", "dataset.root": f"{folder}/dataset",
            "dataset.rgb_encoder.vcodec": "h264", "dataset.rgb_encoder.preset": "ultrafast",
        }  # fmt: skip
        command = [str(Path(sys.executable).with_name("onbeat")), "loadtest", *(f"--{k}={v}" for k, v in flags.items())]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        if without:
            environment["PYTHONPATH"] = f"{_WITHOUT}:{_PATCHES}:{environment.get('PYTHONPATH', '')}"
        log = Path(folder, "log.txt")
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment, cwd=_REPOSITORY
            )
        family: list[int] = []
        try:
            _wait_for(log, "state: recording", process)
            family = _below(process.pid)
            (ingest,) = (pid for pid in family if b"writer.ingest" in Path(f"/proc/{pid}/cmdline").read_bytes())
            time.sleep(3)
            began_s, before_s = time.monotonic(), _cpu_s(ingest)
            time.sleep(seconds)
            return (_cpu_s(ingest) - before_s) / (time.monotonic() - began_s)
        finally:
            # Nothing of it is to be finished; without a journal nothing could be.
            for pid in {process.pid, *family, *_below(process.pid)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _wait_for(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    limit_s = time.monotonic() + _START_LIMIT_S
    while text not in log.read_text():
        if process.poll() is not None or time.monotonic() > limit_s:
            raise SystemExit(f"no recording within {_START_LIMIT_S:g} s: {log.read_text()[-500:]}")
        time.sleep(0.05)


def _below(pid: int) -> list[int]:
    found, frontier = [], [pid]
    while frontier:
        parent = frontier.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = [int(c) for c in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
            found += children
            frontier += children
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


if __name__ == "__main__":
    sys.exit(main())

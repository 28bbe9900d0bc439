"""onbeat against stock lerobot and the machine's own floor, in one run: `make bench`, `make bench ARGS=--quick`.

Each load is recorded by onbeat (local writer, journal on) and by the function behind lerobot-record (streaming
encoding), with the same pictures, rows, codec options and simulated 4 ms bus; a bare pacer with nothing in the tick is
the floor. The three alternate. Prints a table and writes out/bench.json; every single run is kept in out/bench_runs/.

What this favours:
- onbeat, because the robot is simulated: cameras cost their consumer nothing, no driver's threads share the process.
- onbeat, because lateness is taken on an absolute grid, which lerobot does not try to keep.
- onbeat as root, because it asks for real-time priority and locked memory and then gets them. Also because SVT-AV1 as
  root makes its own threads real-time, at the highest priority there is: onbeat forbids it, stock lerobot does not.
- lerobot, because everything that it imports and starts before its first tick is left out, while onbeat's committer
  imports lerobot beside the first episode and that is counted.
- lerobot, because the bus only sleeps, which gives the interpreter lock to its encoder threads.
- whoever runs second in a busy minute; that is why they alternate, and why a run is void if its floor is above 100 µs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.bench_kit import results
from scripts.bench_kit.ladder import climb
from scripts.bench_kit.loads import CPU_LOAD, FULL, LADDERS, LOADS, OVERHEAD_S, QUICK, BenchLoad, Scale, planned_s
from scripts.bench_kit.runs import Bench, Run

_BARE_FRAMES = 240


class Report:
    """Says how far the bench is, and keeps every run."""

    def __init__(self, out: Path, planned_s: float) -> None:
        self._folder = out / "bench_runs"
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("*.json"):
            old.unlink()
        self._began_s = time.monotonic()
        self._planned_s = planned_s
        self._count = 0

    def run(self, what: str, load: BenchLoad, run: Run) -> Run:
        """Note a run, and hand it back."""
        found = run.to_json()
        self._count += 1
        path = self._folder / f"{self._count:03d}-{what.replace(' ', '-')}.json"
        path.write_text(json.dumps({"what": what, "load": load.to_json(), **found}, indent=1) + "\n")
        passed_s = time.monotonic() - self._began_s
        left_min = max(self._planned_s - passed_s, 0) / 60
        print(f"[{passed_s / 60:5.1f} min, about {left_min:.0f} to go] {load.name}, {what}: {_brief(run)}", flush=True)
        return run


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="about five minutes: short runs once, no p99.9, no ladder")
    parser.add_argument("--cores", default="0,1", help="processors for everything measured, as in 0,1 (default: 0,1)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results (default: out)")
    parser.add_argument("--only", default="", help="loads whose name contains this, or =NAME, alone; or: rest")
    parser.add_argument("--repeats", type=int, help="runs of each load (default: 3, quick 1)")
    parser.add_argument("--ticks", type=int, help="of each run (default: 3400, quick 240)")
    parser.add_argument(
        "--stalls",
        action="store_true",
        help="on a machine that others share: watch when it stands still, and give the figures without that beside",
    )
    given = parser.parse_args()
    scale = QUICK if given.quick else FULL
    if given.repeats is not None:
        scale = replace(scale, repeats=given.repeats)
    if given.ticks is not None:
        scale = replace(scale, ticks=given.ticks, lerobot_ticks=given.ticks)
    cores = frozenset(int(core) for core in given.cores.split(","))
    if not cores <= os.sched_getaffinity(0):
        parser.error(f"--cores={given.cores} found, this process may use {sorted(os.sched_getaffinity(0))}")
    loads = tuple(load for load in LOADS if given.only in (f"={load.name}", "rest") or given.only in load.name)
    if not loads:
        parser.error(f"--only={given.only} found, the loads are {', '.join(load.name for load in LOADS)}")
    if given.only == "rest":
        loads = ()
    elif given.only:
        scale = replace(scale, ladders=0, commits=0)
    print((__doc__ or "").partition("\n\n")[2])
    _print_plan(scale, loads)
    bench = Bench(given.out.absolute() / "bench_data", cores, stalls=given.stalls)
    report = Report(given.out, planned_s(scale, loads))
    found = _measure(bench, report, scale, loads)
    found["machine"] = _machine(cores)
    found["scale"] = "quick" if given.quick else "full"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    _print_results(found)
    print(f"written: {given.out / 'bench.json'}")
    return 0


def _measure(bench: Bench, report: Report, scale: Scale, loads: tuple[BenchLoad, ...]) -> dict[str, Any]:
    repeats: dict[str, list[dict[str, Run]]] = {load.name: [] for load in loads}
    bare_ms: list[float] = []
    for number in range(1, scale.repeats + 1):
        for load in loads:
            entry = {
                "floor": report.run(f"floor {number}", load, bench.floor(load, scale.ticks)),
                "onbeat": report.run(f"onbeat {number}", load, bench.onbeat(load, scale.ticks, scale.episodes)),
                "lerobot": report.run(
                    f"lerobot {number}", load, bench.lerobot(load, scale.lerobot_ticks, scale.episodes)
                ),
            }
            if results.is_void(entry["floor"]):
                print(f"run {number} of {load.name} is void: the floor's p99.9 exceeds {results.VOID_FLOOR_US:g} µs")
            repeats[load.name].append(entry)
            if load == CPU_LOAD:
                bare_ms.append(_bare(bench, load))
    found: dict[str, Any] = {"loads": [results.summarize(load.name, repeats[load.name]) for load in loads]}
    found["ladder"] = {}
    for ladder in LADDERS[: scale.ladders]:
        found["ladder"][f"{ladder.width}x{ladder.height}@{ladder.fps} {ladder.vcodec}"] = _ladder(
            bench, report, scale, ladder
        )
    found["writer_cpu_ratio"], found["writer_cpu"] = _writer_cpu(found["loads"], bare_ms)
    found["commit_ms"] = _commit(bench, scale.commits) if scale.commits else None
    return found


def _ladder(bench: Bench, report: Report, scale: Scale, load: BenchLoad) -> dict[str, int]:
    def onbeat(step: BenchLoad) -> Run:
        run = bench.onbeat(step, round(scale.ladder_s * step.fps), 2)
        report.run("ladder onbeat", step, run)
        return run

    def lerobot(step: BenchLoad) -> Run:
        run = bench.lerobot(step, round(scale.ladder_s * step.fps), 2)
        report.run("ladder lerobot", step, run)
        return run

    return {
        "onbeat": climb(load, scale.ladder_steps, onbeat),
        "lerobot": climb(load, scale.ladder_steps, lerobot),
    }


def _bare(bench: Bench, load: BenchLoad) -> float:
    return float(
        bench.output_of("bench_kit.bare_encoding", json.dumps({"load": load.to_json(), "frames": _BARE_FRAMES}))
    )


def _writer_cpu(loads: list[dict[str, Any]], bare_ms: list[float]) -> tuple[float | None, dict[str, float]]:
    """Ingest's processor time for a picture against that of encoding it, and both in milliseconds."""
    entry = next((load for load in loads if load["name"] == CPU_LOAD.name), None)
    if entry is None or "ingest" not in entry["onbeat"].get("cpu_s_per_1000_frames", {}):
        return None, {}
    ingest_ms = entry["onbeat"]["cpu_s_per_1000_frames"]["ingest"] / CPU_LOAD.cameras
    bare = sorted(bare_ms)[len(bare_ms) // 2]
    return ingest_ms / bare, {"ingest_ms_a_picture": ingest_ms, "bare_ms_a_picture": bare}


def _commit(bench: Bench, episodes: int) -> dict[str, float]:
    values: dict[str, float] = json.loads(bench.output_of("bench_commit", str(episodes), "--json"))
    return values


def _print_plan(scale: Scale, loads: tuple[BenchLoad, ...]) -> None:
    print(
        f"{'seconds of recording, each of ' + str(scale.repeats) + ' runs':<48}{'onbeat':>9}{'lerobot':>9}{'floor':>9}"
    )
    for load in loads:
        print(f"{load.name:<48}" + "".join(f"{seconds:>9.0f}" for seconds in scale.seconds(load)))
    overhead = ", ".join(f"{name} {seconds:.0f}" for name, seconds in OVERHEAD_S.items())
    print(f"plus about {overhead} s a run to start, finish and count")
    print(f"ladder: {scale.ladders} x cameras {scale.ladder_steps}, {scale.ladder_s:g} s each; {scale.commits} commits")
    print(f"in all about {planned_s(scale, loads) / 60:.0f} minutes\n", flush=True)


def _print_results(found: dict[str, Any]) -> None:
    print()
    print("\n".join(results.table(found["loads"])))
    print("\n".join(results.ratios(found["loads"])))
    for name, cameras in found["ladder"].items():
        print(f"ladder {name}: onbeat {cameras['onbeat']} cameras, lerobot {cameras['lerobot']}")
    if found["writer_cpu_ratio"] is not None:
        costs = found["writer_cpu"]
        print(
            f"writer_cpu_ratio {found['writer_cpu_ratio']:.2f}: ingest {costs['ingest_ms_a_picture']:.2f} ms a "
            f"picture, encoding alone {costs['bare_ms_a_picture']:.2f}"
        )
    if found["commit_ms"]:
        print(f"commit_ms first {found['commit_ms']['first']:.1f}, last {found['commit_ms']['last']:.1f}")


def _brief(run: Run) -> str:
    if run.figures is None:
        return run.failure
    f = run.figures
    late = f.lateness_us
    p999 = "" if late is None or late.p999 is None else f", p99.9 {late.p999:.0f}"
    rate = "-" if f.effective_fps is None else f"{f.effective_fps:.2f}"
    worst = "" if late is None else f", lateness p99 {late.p99:.0f}{p999}, max {late.max:.0f} µs"
    left = run.undisturbed
    alone = ""
    if left is not None:
        alone = (
            f", {left.disturbed_ticks} ticks disturbed (stalls up to {left.longest_us:.0f} µs), "
            f"{left.missed_slots} slots missed for other reasons"
        )
    return f"{rate} fps, missed {f.missed_ticks}, lost {run.frames_lost}{worst}{alone}"


def _machine(cores: frozenset[int]) -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": sorted(cores),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "root": os.geteuid() == 0,
    }


if __name__ == "__main__":
    sys.exit(main())

"""`python -m scripts.drills [NAME...] [--repeat N] [--fast] [--soak] [--seed N]`: run fault drills, print a table.

Writes out/drills.json. The exit code is 1 if any drill failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.drills.registry import Drill, Result, drills
from scripts.drills.stage import Stage
from scripts.drills.stock_reader import StockReader

OUT = Path("out/drills.json")


def main(argv: list[str]) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.drills", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="drills to run; all if none is named")
    parser.add_argument("--list", action="store_true", help="name them and say what they do")
    parser.add_argument("--fast", action="store_true", help="the subset that takes less than four minutes")
    parser.add_argument("--soak", action="store_true", help="also those that take half an hour")
    parser.add_argument("--repeat", type=int, default=1, help="times that each is run")
    # A recording wants two cores: its loop spins before each tick, and the encoders want the rest.
    jobs = 2 if len(os.sched_getaffinity(0)) >= 4 else 1
    parser.add_argument("--jobs", type=int, default=jobs, help="at a time (default: %(default)s); 1 for fair lateness")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; printed when not given")
    parser.add_argument("--keep", action="store_true", help="leave the folders of failed drills")
    arguments = parser.parse_args(argv)
    known = {found.name: found for found in drills()}
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"no drill {unknown[0]!r}; there are {', '.join(known)}")
    if arguments.list:
        print("\n".join(f"{found.name:28} {found.about}" for found in known.values()))
        return 0
    wanted = [known[name] for name in arguments.names] or [
        found for found in known.values() if (arguments.soak or not found.soak) and (found.fast or not arguments.fast)
    ]
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    print(f"{len(wanted)} drills, seed {seed}")
    results = run_all(wanted, seed=seed, repeat=arguments.repeat, jobs=arguments.jobs, keep=arguments.keep)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([result.to_json() for result in results], indent=1) + "\n")
    Console(width=200 if not sys.stdout.isatty() else None).print(_table(results))
    failed = [result for result in results if not result.passed]
    for result in failed:
        print(f"\n{result.name} FAILED: {result.notes[:2000]}")
    print(f"\n{len(results) - len(failed)} of {len(results)} passed; written to {OUT}")
    return 1 if failed else 0


def run_all(wanted: list[Drill], *, seed: int, repeat: int = 1, jobs: int = 1, keep: bool = False) -> list[Result]:
    """Run drills; a fault-free run comes first, as what their lateness is compared with."""
    stock = StockReader()
    try:
        compared = next(found for found in drills() if found.name == "fault-free")
        first = run_one(compared, seed, stock, None, keep=keep)
        results = [first] if compared in wanted else []
        rest = [(found, seed + turn) for turn in range(repeat) for found in wanted if found is not compared]
        with ThreadPoolExecutor(jobs) as pool:
            results += pool.map(lambda item: run_one(item[0], item[1], stock, first.control_p99_us, keep=keep), rest)
    finally:
        stock.close()
    return results


def run_one(found: Drill, seed: int, stock: StockReader, fault_free_p99_us: float | None, *, keep: bool) -> Result:
    """One drill in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"drill-{found.name}-"))
    stage = Stage(found, folder, random.Random(f"{seed} {found.name}"), stock, fault_free_p99_us)
    began_s = time.monotonic()
    try:
        result = found.run(stage)
    except Exception as error:  # noqa: BLE001 - a drill that breaks is a row of the table too
        notes = "; ".join([*stage.problems, *stage.notes, f"{type(error).__name__}: {error}", traceback.format_exc()])
        result = Result(found.name, passed=False, notes=notes)
    result = replace(result, seconds=round(time.monotonic() - began_s, 1))
    print(f"{'ok    ' if result.passed else 'FAILED'} {found.name}  {result.seconds:.0f} s", flush=True)
    if result.passed or not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"       {folder}\n       {result.notes[-6000:]}")
    return result


def _table(results: list[Result]) -> Table:
    columns = ("drill", "", "published", "durable", "lost", "dupl.", "p99 µs", "fault-free", "s", "notes")
    table = Table(*columns)
    for r in results:
        figures = (str(r.published), str(r.durable), str(r.lost), str(r.duplicated), _us(r.control_p99_us))
        shown = r.notes if len(r.notes) < 100 else f"{r.notes[:97]}..."
        table.add_row(
            r.name, "ok" if r.passed else "FAILED", *figures, _us(r.fault_free_p99_us), f"{r.seconds:.0f}", shown
        )
    return table


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

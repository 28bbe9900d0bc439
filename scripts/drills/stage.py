"""One drill's stage: its folder, its flags, its random numbers, and the verdict from what is on disk afterwards."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.drills import tally
from scripts.drills.process import ONBEAT, OnbeatProcess
from scripts.drills.registry import Drill, Result
from scripts.drills.stock_reader import StockReader
from scripts.drills.taps import Tap
from writer.workdir import work_dir

FPS = 30
HOOKS = Path(__file__).with_name("hooks")
PATCHES = Path(__file__).parents[1] / "late_patches"
H264 = "--dataset.rgb_encoder.vcodec=h264"
AV1 = "--dataset.rgb_encoder.vcodec=libsvtav1"
# The script solves the task in 4 s at full speed; slower leaves time for faults.
SLOW = "--teleop.kwargs={speed: 0.4}"


@dataclass
class Run:
    """A recording under way."""

    process: OnbeatProcess
    tap: Tap
    exit_code: int | None = None


@dataclass
class Stage:
    """What a drill gets.

    Attributes:
        rng: random moments come from here; its seed is printed.
        notes: for the table.
        problems: whatever went wrong; a drill with problems has failed.
    """

    drill: Drill
    folder: Path
    rng: random.Random
    stock: StockReader
    fault_free_p99_us: float | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "ds"

    def expect(self, condition: bool, what: str) -> None:
        """Note a failure of the drill unless `condition` holds."""
        if not condition:
            self.problems.append(what)

    def wait_s(self, low_s: float, high_s: float) -> None:
        """Let a random time pass."""
        time.sleep(self.rng.uniform(low_s, high_s))

    @contextmanager
    def record(
        self,
        *flags: str,
        episodes: int = 1,
        codec: str = H264,
        size: tuple[int, int] = (320, 240),
        cameras: int = 2,
        root: Path | None = None,
        local: bool = True,
        fault: Mapping[str, str] | None = None,
        tap: bool = True,
    ) -> Iterator[Run]:
        """`onbeat record` with the built-in cameras.

        Args:
            local: with a writer of its own and `--dataset.root`; else `flags` name a writer.
            fault: environment for `hooks/sitecustomize.py`.
        """
        where = [f"--dataset.root={root or self.root}"] if local else []
        kwargs = f"{{width: {size[0]}, height: {size[1]}, cameras: {cameras}}}"
        arguments = [
            *(ONBEAT, "record", codec, f"--env.kwargs={kwargs}", "--env.seed=1", f"--dataset.num_episodes={episodes}"),
            *(*where, *flags),
        ]
        environment = {} if fault is None else {**fault, "PYTHONPATH": _path_with_hooks()}
        with OnbeatProcess(arguments, self.folder, environment=environment) as process:
            run = Run(process, Tap(process.pid_of("control.process"), FPS) if tap else None)  # type: ignore[arg-type]
            if tap:
                self.runs.append(run)
            yield run

    def writer(self, *flags: str) -> OnbeatProcess:
        """`onbeat writer`, to be used as a context."""
        return OnbeatProcess([ONBEAT, "writer", *flags], self.folder)

    def command(self, *arguments: str, limit_s: float = 100) -> tuple[int, str]:
        """Another verb, to its end; returns the exit code and the output."""
        with OnbeatProcess([ONBEAT, *arguments], self.folder) as process:
            code = process.finish(limit_s)
            process.drain(10)
            return code, process.output

    def recover(self, *decisions: str, root: Path | None = None) -> tuple[int, str]:
        """`onbeat recover`, keeping whatever there is unless told otherwise."""
        flags = decisions or ("--undecided=keep", "--aborted=keep")
        return self.command("recover", str(root or self.root), *flags)

    def judge(self, *, roots: Sequence[Path] = ()) -> Result:
        """Recover what is left, decode everything, and compare with what control published."""
        published = sum(run.tap.published for run in self.runs)
        reported, kept, duplicated = sum(tally.unbegun(run.process.output) for run in self.runs), 0, 0
        for root in roots or (self.root,):
            if work_dir(root).exists():
                code, output = self.recover(root=root)
                reported += tally.reported_lost(output)
                self.notes.append(f"recover: {_last(output)}")
                self.expect(code in (0, 3), f"recover ended with {code}: {output}")
                self.expect(not work_dir(root).exists(), f"recover left {work_dir(root)}")
            found = tally.count(root)
            kept += found.rows
            duplicated += found.duplicated
            self.problems += found.problems
            if root.exists() and (problem := self.stock.open(root)):
                self.problems.append(problem)
        gone = sum(tally.discarded(run.process.output) for run in self.runs)
        lost = published - kept - gone
        self.expect(lost == reported, f"{lost} frames are lost, {reported} were reported")
        self.expect(lost == 0 or bool(self.drill.may_lose), f"{lost} frames are lost")
        self.expect(duplicated == 0, f"{duplicated} pictures appear twice")
        p99s = [run.tap.figures.lateness_us for run in self.runs]
        return Result(
            name=self.drill.name,
            passed=not self.problems,
            published=published,
            durable=kept + gone,
            lost=lost,
            duplicated=duplicated,
            control_p99_us=max((p99[0] for p99 in p99s if p99 is not None), default=None),
            fault_free_p99_us=self.fault_free_p99_us,
            notes="; ".join([*self.problems, *self.notes]),
        )


def _path_with_hooks() -> str:
    return os.pathsep.join(filter(None, [str(HOOKS), str(PATCHES), os.environ.get("PYTHONPATH", "")]))


def _last(output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith("published")]
    return " ".join(lines[-1].split()) if lines else output.strip()[-200:]

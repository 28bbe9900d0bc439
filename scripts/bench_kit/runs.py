"""One run of one system under one load, in processes of its own, and what is known of it afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from control.envs import frame_code
from control.load_figures import Spreads, TickFigures, figures, spreads_ns
from control.load_frames import SyntheticFrames
from scripts.bench_kit.loads import JOINTS, STEP_MS, BenchLoad
from scripts.bench_kit.stalls import Undisturbed, undisturbed, watched
from scripts.bench_kit.watch import Watch
from transport.errors import OnbeatError
from transport.ring_layout import SlotLayout
from transport.ring_memory import available_memory_bytes
from writer.frame_check import good_pictures

_REPOSITORY = Path(__file__).resolve().parents[2]
_BUSY = "while True: pass"
_LIMIT_S = 300.0
# From the start of a system to its first tick, about.
_START_S = {"onbeat": 4.0, "lerobot": 9.0, "floor": 0.0}
# The ring may take so much of the machine's free memory; more would tell nothing.
_RING_PART = 0.3
_RING_S = 5.0


@dataclass
class Run:
    """What one run gave.

    Attributes:
        figures: None if there is no trace.
        frames_lost: pictures of published frames that do not decode under their number, over all cameras.
        cpu_s: processor time by process from the first tick to the end.
        memory_mb: proportional set size by process, the ring apart.
        spreads: the values of which the figures are percentiles.
        stolen_s: time that the hypervisor took from the measured processors, in s.
        undisturbed: the same without the ticks that the machine disturbed; None if nobody watched for that.
        details: onbeat's own words on the run.
        failure: why there are no figures.
    """

    figures: TickFigures | None = None
    spreads: Spreads | None = None
    frames_lost: int | None = None
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    memory_mb: Mapping[str, float] = field(default_factory=dict)
    stolen_s: float = 0.0
    undisturbed: Undisturbed | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `out/bench.json` holds it."""
        found: dict[str, Any] = {} if self.figures is None else asdict(self.figures)
        ticks = 0 if self.figures is None else self.figures.ticks
        found["frames_lost"] = self.frames_lost
        found["cpu_s_per_1000_frames"] = {role: used * 1000 / ticks for role, used in self.cpu_s.items() if ticks}
        found["memory_mb"] = dict(self.memory_mb)
        found["stolen_s"] = self.stolen_s
        if self.undisturbed is not None:
            found["undisturbed"] = self.undisturbed.to_json()
        return {**found, **self.details, **({"failure": self.failure} if self.failure else {})}


class Bench:
    """Runs systems.

    Args:
        folder: for datasets and logs, on the disk that is to be measured; datasets are removed after each run.
        cores: processors that everything measured is held to.
        stalls: watch on each of them when the machine itself stands still, at the price of some of their time.
    """

    def __init__(self, folder: Path, cores: frozenset[int], *, stalls: bool = False) -> None:
        self._folder = folder
        self._cores = cores
        self._all_cores = os.sched_getaffinity(0)
        self._watched = (cores, frozenset(self._all_cores) - cores) if stalls else None

    def onbeat(self, load: BenchLoad, ticks: int, episodes: int) -> Run:
        """`onbeat loadtest` into a local writer, journal on."""
        with self._place("onbeat") as place:
            flags = {
                "load.cameras": load.cameras,
                "load.width": load.width,
                "load.height": load.height,
                "load.fps": load.fps,
                "load.step_ms": STEP_MS,
                "load.joints": JOINTS,
                "load.duration_s": ticks / load.fps,
                "load.episode_s": ticks / load.fps / episodes,
                "load.check": "false",
                "load.ticks": place / "ticks.npy",
                "load.figures": place / "figures.json",
                "dataset.root": place / "dataset",
                "dataset.rgb_encoder.vcodec": load.vcodec,
                "dataset.rgb_encoder.preset": load.encoder["preset"],
                "publisher.ring_s": _ring_s(load),
                "writer.allow_slow": "true",
            }
            command = [str(Path(sys.executable).with_name("onbeat")), "loadtest"]
            run = self._run(command + [f"--{name}={value}" for name, value in flags.items()], load, ticks, place)
            with contextlib.suppress(FileNotFoundError):
                said = json.loads((place / "figures.json").read_text())
                run.details = {key: said[key] for key in ("writer_lag_s", "ring_bytes", "problems", "protections")}
            return run

    def lerobot(self, load: BenchLoad, ticks: int, episodes: int) -> Run:
        """The function behind `lerobot-record`, streaming."""
        with self._place("lerobot") as place:
            config = {"episodes": episodes, "root": str(place / "dataset"), "folder": str(place)}
            return self._run(self._module("run_lerobot", load, ticks, place, config), load, ticks, place)

    def floor(self, load: BenchLoad, ticks: int) -> Run:
        """A bare pacer."""
        with self._place("floor") as place:
            return self._run(self._module("run_floor", load, ticks, place, {}), load, ticks, place)

    def output_of(self, module: str, *arguments: str) -> str:
        """Run another program of this kit on the same processors; returns its last line."""
        command = [sys.executable, "-m", f"scripts.{module}", *arguments]
        with self._held():
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_LIMIT_S * 4, cwd=_REPOSITORY
            )
        if done.returncode != 0 or not done.stdout.strip():
            raise OnbeatError(f"scripts.{module} ended with code {done.returncode}: {_last_line(done.stderr)}")
        return done.stdout.strip().splitlines()[-1]

    # -- one run -------------------------------------------------------------------------------------------------

    def _module(self, name: str, load: BenchLoad, ticks: int, place: Path, config: Mapping[str, Any]) -> list[str]:
        path = place / "config.json"
        values = {"load": load.to_json(), "ticks": ticks, "ticks_file": str(place / "ticks.npy"), **config}
        path.write_text(json.dumps(values))
        return [sys.executable, "-m", f"scripts.bench_kit.{name}", str(path)]

    def _run(self, command: list[str], load: BenchLoad, ticks: int, place: Path) -> Run:
        log = place / "log.txt"
        seconds = ticks / load.fps
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(place / "hf"), "TQDM_DISABLE": "1"}
        environment["HF_LEROBOT_HOME"] = str(place / "hf" / "lerobot")
        stolen_before_s = _stolen_s(self._cores)
        with (
            watched(*(self._watched or (frozenset(),))) as stalls,
            self._held(),
            _busy(load.busy),
            log.open("w") as out,
        ):
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=_REPOSITORY,
            )
            watch = Watch(process.pid, _START_S[place.name.partition("-")[0]] + 0.6 * seconds)
            try:
                code = process.wait(3 * seconds + _LIMIT_S)
            except subprocess.TimeoutExpired:
                code = None
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            watch.stop()
        stolen_s = _stolen_s(self._cores) - stolen_before_s
        try:
            trace: NDArray[np.void] = np.load(place / "ticks.npy")
        except FileNotFoundError:
            text = _last_line(log.read_text(errors="replace"))
            return Run(failure=f"{'ran too long' if code is None else f'exit code {code}'}: {text}")
        return Run(
            figures=figures(trace, load.fps),
            spreads=spreads_ns(trace, load.fps),
            stolen_s=stolen_s,
            undisturbed=undisturbed(trace, stalls, len(self._cores), load.fps) if self._watched else None,
            frames_lost=self._lost(place / "dataset", load, len(trace)),
            cpu_s=watch.cpu_s(int(trace["started_ns"][0]) / 1e9),
            memory_mb=watch.memory_mb,
        )

    def _lost(self, root: Path, load: BenchLoad, published: int) -> int | None:
        if not root.exists():
            return None
        try:
            return published * load.cameras - sum(good_pictures(root, published, frame_code.read).values())
        except (OnbeatError, OSError, av.FFmpegError):
            return published * load.cameras

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold whatever starts inside to the chosen processors; decoding afterwards may use all."""
        os.sched_setaffinity(0, self._cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self._all_cores)

    @contextmanager
    def _place(self, name: str) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            # What the next run writes must not wait for what this one left.
            os.sync()
            time.sleep(1)


def _ring_s(load: BenchLoad) -> float:
    schema = SyntheticFrames(load.cameras, load.width, load.height, JOINTS, 1).schema
    slots = available_memory_bytes() * _RING_PART / SlotLayout.of(schema).slot_bytes
    return round(min(_RING_S, slots / load.fps), 1)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _stolen_s(cores: frozenset[int]) -> float:
    """Since the machine started, by proc(5): time in which the hypervisor ran something else on these processors."""
    names = {f"cpu{core}" for core in cores}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return round(sum(int(line[8]) for line in lines if line[0] in names) / os.sysconf("SC_CLK_TCK"), 2)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"

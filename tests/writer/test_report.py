"""The report shows what the telemetry says: known ticks in, their figures, causes and pictures out."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from transport.dataset_spec import DatasetSpec
from transport.records import EndReason
from transport.schema import HWC, Kind, LoopFlag, Schema, Stream
from transport.timing import TICKS_FOR_P999
from writer.encode_cost import EncodeRun
from writer.episode import FinishedEpisode
from writer.report_cli import main, write_report
from writer.report_data import read_timing
from writer.report_figures import figures, verdict
from writer.sidecar import write_sidecar

FPS = 50
PERIOD_NS = 20_000_000
ALL_HELD = LoopFlag.PACED | LoopFlag.FIFO | LoopFlag.MEMORY_LOCKED | LoopFlag.RING_LOCKED | LoopFlag.TIMER_SLACK
ALL_HELD |= LoopFlag.CPU_AWAKE | LoopFlag.GC_PAUSED
CAMERA = "observation.images.front"
SCHEMA = Schema((Stream("action", "float32", (2,)), Stream(CAMERA, "uint8", (48, 64, 3), Kind.VIDEO, HWC)))


@dataclass(frozen=True)
class Slow:
    """A tick that spends `ms` in `section`; "wait" starts late by it."""

    tick: int
    section: str
    ms: int


def ticks(frames: int, slow: Sequence[Slow] = (), *, flags: LoopFlag = ALL_HELD, start_ns: int = 0) -> np.ndarray:
    """Rows as the loop writes them: 5 µs late, 1 ms of step, and what `slow` says; missed slots follow from that."""
    found = np.zeros(frames, SCHEMA.row_dtype)
    slot, owed_ns, publish_ns = -1, 0, 0
    for tick in range(frames):
        missed = owed_ns // PERIOD_NS
        slot += 1 + missed
        spent = {s.section: s.ms * 1_000_000 for s in slow if s.tick == tick}
        late_ns = 5_000 + spent.get("wait", 0)
        step_ns = 1_000_000 + spent.get("step", 0)
        acting_ns = step_ns + spent.get("policy", 0) + spent.get("teleop", 0)
        row = found[tick]
        row["onbeat.scheduled_ns"] = start_ns + slot * PERIOD_NS
        row["onbeat.started_ns"] = start_ns + slot * PERIOD_NS + late_ns
        row["onbeat.action_sent_ns"] = start_ns + slot * PERIOD_NS + late_ns + acting_ns - step_ns
        row["onbeat.missed_slots"] = missed
        row["onbeat.loop_flags"] = flags
        row["onbeat.publish_us"] = publish_ns // 1000
        row["onbeat.step_us"] = step_ns // 1000
        row["onbeat.policy_us"] = spent.get("policy", 0) // 1000
        row["onbeat.teleop_us"] = spent.get("teleop", 0) // 1000
        row["onbeat.ring_fill"] = row["onbeat.writer_lag"] = 3
        row["onbeat.ring_slots"] = 100
        publish_ns = 100_000 + spent.get("publish", 0)
        owed_ns = late_ns + acting_ns + publish_ns
    return found


def write(root: Path, index: int, rows: np.ndarray, *, runs: Sequence[EncodeRun] = (), session: str = "a" * 32) -> None:
    spec = DatasetSpec("test/report", FPS)
    episode = FinishedEpisode(
        session, index, "task", SCHEMA, spec, rows, {}, EndReason.SUCCESS, codec_options={"g": "2"}, encode_runs=runs
    )
    tree = root.with_name(f"{root.name}-{index}")
    write_sidecar(tree, index, episode)
    (root / "meta/onbeat").mkdir(parents=True, exist_ok=True)
    for path in (tree / "meta/onbeat").iterdir():
        path.rename(root / "meta/onbeat" / path.name)


def cost(frames: int, busy_us: int) -> EncodeRun:
    return EncodeRun(0, frames * 3_000_000, {CAMERA: [busy_us] * frames})


def test_quiet_episodes_are_good(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    write(root, 0, ticks(100), runs=[cost(100, 2000)])
    write(root, 1, ticks(50, start_ns=100 * PERIOD_NS + 3_000_000_000), runs=[cost(50, 8000)])
    episodes = read_timing(root)
    found = figures(episodes)
    assert (found["frames"], found["missed_slots"], found["missed_by"]) == (150, 0, {})
    assert found["lateness_us"] == {"count": 150, "p50": 5.0, "p99": 5.0, "p999": None, "max": 5.0}
    assert found["period_error_us"]["count"] == 148, "an interval does not reach from one episode to the next"
    assert found["period_error_us"]["max"] == 0
    assert found["episodes"][1]["gap_before_s"] == pytest.approx(3.02)
    assert found["episodes"][0]["gap_before_s"] is None
    assert found["episodes"][0]["achieved_fps"] == pytest.approx(50)
    assert set(found["protections"].values()) == {0.0, 1.0}, "all but the pinning held in every frame"
    assert found["encode_us"][CAMERA]["p50"] == pytest.approx(2000, rel=1e-3)
    assert found["encode_us"][CAMERA]["max"] == pytest.approx(8000, rel=1e-3)
    level, lines = verdict(episodes, found)
    assert level == "good"
    assert "No slot was missed." in lines


@pytest.mark.parametrize("section", ["policy", "teleop", "step", "publish", "wait"])
def test_missed_slots_are_put_down_to_what_took_the_time(tmp_path: Path, section: str) -> None:
    root = tmp_path / "ds"
    write(root, 0, ticks(100, [Slow(10, section, 50), Slow(40, section, 30)]))
    episodes = read_timing(root)
    found = figures(episodes)
    assert found["missed_by"] == {section: 3}
    assert found["missed_slots"] == 3
    assert found["lateness_us"]["count"] == 103, "a missed slot has a lateness too"
    # The first slot missed after tick 10 waited two slots for the next start; a late tick is late by itself.
    assert found["lateness_us"]["max"] == (50_005 if section == "wait" else 40_005)
    level, lines = verdict(episodes, found)
    assert level == "bad"
    assert any(line.startswith("3 of 103 slots were missed (2.91%): 3 by ") for line in lines)


def test_a_high_percentile_needs_ten_thousand_ticks(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    write(root, 0, ticks(TICKS_FOR_P999 // 2))
    write(root, 1, ticks(TICKS_FOR_P999 // 2))
    facts = json.loads((root / "meta/onbeat/episode-000000.json").read_text())
    assert facts["timing"]["lateness_us"]["p999"] is None
    assert figures(read_timing(root))["lateness_us"]["p999"] == 5.0


def test_the_page_carries_its_pictures_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    write(root, 0, ticks(200, [Slow(10, "step", 50)]), runs=[cost(200, 2000)])
    write(root, 1, ticks(200), session="b" * 32)
    assert main([str(root)]) == 0
    folder = tmp_path / "ds.report"
    page = (folder / "index.html").read_text()
    embedded = [b64decode(data) for data in re.findall(r"src='data:image/png;base64,([^']+)'", page)]
    files = {path.read_bytes() for path in folder.glob("*.png")}
    assert set(embedded) == files
    assert len(embedded) == 8
    for png in embedded:
        height, width, _ = matplotlib.image.imread(BytesIO(png)).shape
        assert width > 1000
        assert height > 400
    assert page.count("src=") == 8
    assert "href" not in page
    assert "http" not in page
    assert "2 of 402 slots were missed" in page
    assert "too few ticks" in page
    assert json.loads((folder / "figures.json").read_text())["missed_by"] == {"step": 2}


def test_what_is_unusual_still_gets_a_page(tmp_path: Path) -> None:
    unpaced, short = tmp_path / "unpaced", tmp_path / "short"
    write(unpaced, 0, ticks(30, flags=LoopFlag(0)))
    write(short, 0, ticks(1))
    assert write_report(unpaced)[0].startswith("fair: The loop was not paced")
    assert write_report(short, tmp_path / "elsewhere")[1] == "No slot was missed."
    assert (tmp_path / "elsewhere/index.html").exists()
    assert not (tmp_path / "unpaced.report/lateness.png").exists()


def test_lacking_protections_are_named(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    rows = ticks(100)
    rows["onbeat.loop_flags"][50:] &= ~np.uint32(LoopFlag.FIFO)
    write(root, 0, rows)
    episodes = read_timing(root)
    found = figures(episodes)
    assert found["protections"]["real-time priority (SCHED_FIFO)"] == 0.5
    assert any("only partly with: real-time priority (SCHED_FIFO)." in line for line in verdict(episodes, found)[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "is it a dataset's folder"),
        (lambda root: _stock(root), "was it recorded with onbeat"),
        (lambda root: _broken(root), "was it changed"),
    ],
)
def test_no_timing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, message: str) -> None:
    assert callable(make)
    make(tmp_path / "ds")
    assert main([str(tmp_path / "ds")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "ds.report").exists()


def _stock(root: Path) -> None:
    (root / "meta").mkdir(parents=True)
    (root / "meta/info.json").write_text("{}")


def _broken(root: Path) -> None:
    write(root, 0, ticks(5))
    (root / "meta/onbeat/episode-000000.parquet").write_bytes(b"PAR1")

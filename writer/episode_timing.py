"""The timing of one episode in figures and histograms, for the sidecar; from the loop's own telemetry.

Histograms are HdrHistograms of nanoseconds (1 ns to one minute, 3 significant digits), encoded as the HdrHistogram
libraries of many languages read them; those of episodes can be added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from transport.schema import LoopFlag
from transport.timing import achieved_fps, figures_us, lateness_ns, period_error_ns
from writer.encode_cost import EncodeRun

SECTIONS = ("publish", "wait", "policy", "teleop", "step")
_HIGHEST_NS = 60_000_000_000


def timing_facts(rows: NDArray[np.void], fps: int) -> dict[str, Any]:
    """What the sidecar says of an episode's timing; `rows` has at least one frame."""
    columns = {name: rows[f"onbeat.{name}"][:, 0] for name in ("scheduled_ns", "started_ns", "action_sent_ns")}
    missed = rows["onbeat.missed_slots"][:, 0]
    flags = rows["onbeat.loop_flags"][:, 0]
    held = LoopFlag(int(np.bitwise_and.reduce(flags)))
    grid_fps = fps if LoopFlag.PACED in held else 0
    late = lateness_ns(columns["scheduled_ns"], columns["started_ns"], missed, grid_fps)
    error = period_error_ns(columns["started_ns"], grid_fps)
    action = columns["action_sent_ns"] - columns["scheduled_ns"]
    return {
        "wanted_fps": fps,
        "achieved_fps": achieved_fps(columns["started_ns"]),
        "held_throughout": [flag.name for flag in held],
        "missed_slots": int(missed.sum()),
        "lateness_us": _figures(late),
        "period_error_us": _figures(error),
        "action_delay_us": _figures(action),
        "lateness_ns_hdr": histogram(late),
        "period_error_ns_hdr": histogram(error),
        "sections_us": {name: _figures(rows[f"onbeat.{name}_us"][:, 0].astype(np.int64) * 1000) for name in SECTIONS},
        "ring_slots": int(rows["onbeat.ring_slots"][0, 0]),
        "ring_fill_max": int(rows["onbeat.ring_fill"].max()),
        "writer_lag_max": int(rows["onbeat.writer_lag"].max()),
    }


def encode_facts(runs: Sequence[EncodeRun]) -> dict[str, Any]:
    """What the sidecar says of an episode's encoding; empty when nothing is known."""
    if not runs:
        return {}
    cameras = {}
    for camera in runs[0].busy_us:
        busy_ns = np.concatenate([np.array(run.busy_us.get(camera, ()), np.int64) for run in runs]) * 1000
        cameras[camera] = {"busy_us": _figures(busy_ns), "busy_ns_hdr": histogram(busy_ns)}
    pictures = max(sum(len(run.busy_us.get(camera, ())) for run in runs) for camera in cameras) if cameras else 0
    cpu_ns = sum(run.cpu_ns for run in runs)
    return {"cameras": cameras, "ingest_cpu_us_per_frame": cpu_ns / 1000 / pictures if pictures else None}


def histogram(values_ns: Iterable[int]) -> str:
    """Encode values; beyond a minute they count as one."""
    found = HdrHistogram(1, _HIGHEST_NS, 3)
    for value in values_ns:
        found.record_value(min(int(value), _HIGHEST_NS))
    text: str = found.encode().decode("ascii")
    return text


def _figures(values_ns: NDArray[np.int64]) -> dict[str, Any] | None:
    figures = figures_us(values_ns)
    return None if figures is None else asdict(figures)

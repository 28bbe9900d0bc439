"""The report's numbers, and its verdict in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from transport.schema import LoopFlag
from transport.timing import achieved_fps, figures_us
from writer.report_data import EpisodeTiming, encode_histograms, gaps_s, joined
from writer.report_plots import CAUSE_WORDS, microseconds

# A tick this much of its slot late is felt by the robot and seen by a policy.
_LATE_PART = 0.02
_WORDS = {
    LoopFlag.FIFO: "real-time priority (SCHED_FIFO)",
    LoopFlag.MEMORY_LOCKED: "process locked in memory",
    LoopFlag.RING_LOCKED: "log ring locked in memory",
    LoopFlag.TIMER_SLACK: "timer slack 1 ns",
    LoopFlag.CPU_AWAKE: "processors kept from deep sleep",
    LoopFlag.GC_PAUSED: "no garbage collection in episodes",
    LoopFlag.PINNED: "loop alone on one processor",
}


def figures(episodes: Sequence[EpisodeTiming]) -> dict[str, Any]:
    """Everything that the page shows as numbers, for scripts."""
    rows = []
    for episode, gap in zip(episodes, gaps_s(episodes), strict=True):
        rows.append(
            {
                "episode": episode.index,
                "frames": episode.frames,
                "seconds": float(np.ptp(episode.columns["started_ns"])) / 1e9,
                "achieved_fps": achieved_fps(episode.columns["started_ns"]),
                "missed_slots": episode.missed,
                "missed_by": dict(episode.missed_by),
                "lateness_us": _figures(episode.lateness),
                "period_error_us": _figures(episode.period_error),
                "action_delay_us": _figures(episode.action_delay),
                "ring_fill_max": int(episode.columns["ring_fill"].max()),
                "writer_lag_max": int(episode.columns["writer_lag"].max()),
                "gap_before_s": gap,
                "reason": episode.facts["reason"],
                "detail": episode.facts["detail"],
            }
        )
    flags = joined([episode.columns["loop_flags"] for episode in episodes])
    cameras = {
        name: {
            f"p{q}".replace(".", "").replace("p100", "max"): found.get_value_at_percentile(q) / 1e3
            for q in (50, 99, 100)
        }
        for name, found in encode_histograms(episodes).items()
    }
    return {
        "episodes": rows,
        "frames": sum(episode.frames for episode in episodes),
        "missed_slots": sum(episode.missed for episode in episodes),
        "missed_by": dict(sum((episode.missed_by for episode in episodes), Counter[str]())),
        "lateness_us": _figures(joined([episode.lateness for episode in episodes])),
        "period_error_us": _figures(joined([episode.period_error for episode in episodes])),
        "action_delay_us": _figures(joined([episode.action_delay for episode in episodes])),
        "encode_us": cameras,
        "protections": {words: float(((flags & flag) != 0).mean()) for flag, words in _WORDS.items()},
    }


def verdict(episodes: Sequence[EpisodeTiming], found: dict[str, Any]) -> tuple[str, list[str]]:
    """ "good", "fair" or "bad", and why in sentences."""
    fps = max(episode.fps for episode in episodes)
    if not fps:
        return "fair", ["The loop was not paced, so there is no grid to be late on."]
    late, slots, missed = found["lateness_us"], found["lateness_us"]["count"], found["missed_slots"]
    tick_us = 1e6 / fps
    lines = [
        f"{found['frames']} frames at {fps} per second in {len(episodes)} episodes; one tick is {tick_us / 1e3:.1f} ms."
    ]
    if missed:
        causes = ", ".join(f"{n} by {CAUSE_WORDS[name]}" for name, n in Counter(found["missed_by"]).most_common())
        lines.append(f"{missed} of {slots} slots were missed ({missed / slots:.2%}): {causes}.")
    else:
        lines.append("No slot was missed.")
    lines.append(
        f"99 % of the ticks started within {microseconds(late['p99'])} of their slot, "
        f"the latest after {microseconds(late['max'])}."
    )
    if lacking := [
        words for words, part in found["protections"].items() if part < 1 and words != _WORDS[LoopFlag.PINNED]
    ]:
        lines.append(
            f"Recorded without, or only partly with: {', '.join(lacking)}. `onbeat doctor` says how to get them."
        )
    fullest = max(int((e.columns["ring_fill"] / e.columns["ring_slots"]).max() * 100) for e in episodes)
    lines.append(f"The log ring was at most {fullest} % full.")
    level = "bad" if missed > slots / 1000 or fullest > 80 else "fair"
    if not missed and late["p99"] <= _LATE_PART * tick_us and fullest <= 50:
        level = "good"
    return level, lines


def _figures(values_ns: Any) -> dict[str, Any] | None:
    found = figures_us(values_ns)
    return None if found is None else asdict(found)

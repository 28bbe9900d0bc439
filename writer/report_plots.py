"""How the report draws: one function a picture, into axes that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from transport.timing import TICKS_FOR_P999, Nanoseconds
from writer.report_data import EpisodeTiming, encode_histograms, joined

# Told apart by people who do not see red and green (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#999999"
_COLOURS = {"publish": PURPLE, "policy": ORANGE, "teleop": GREEN, "step": BLUE, "wait": "#dddddd"}
SECTION_WORDS = {
    "publish": "publish (write the frame, look ahead)",
    "policy": "policy",
    "teleop": "teleoperator",
    "step": "step (read, send, env.step)",
    "wait": "wait for the next slot",
}
CAUSE_WORDS = {**SECTION_WORDS, "wait": "loop woken too late by the machine"}
_BINS_OVER_TIME = 600
_LEGEND: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "fontsize": 9, "frameon": False}
_TIME_AXIS = "recorded time in seconds, episode after episode"


def histogram(axes: Axes, values_ns: Nanoseconds, fps: int, what: str) -> None:
    """How often which time occurred, with the percentiles that may be told from so many ticks."""
    if not len(values_ns):
        _only_text(axes, "too few ticks", GREY)
        return
    # Zero has no place on a log scale; a tenth of a microsecond is below what can be measured.
    values_us = np.maximum(values_ns / 1e3, 0.1)
    tick_us = 1e6 / fps if fps else None
    highest = max(float(values_us.max(initial=1.0)) * 1.5, (tick_us or 0.0) * 2)
    lowest = min(float(values_us.min(initial=1.0)), 1.0)
    axes.hist(values_us, bins=np.geomspace(lowest, highest, 90).tolist(), color=BLUE, edgecolor="white", linewidth=0.3)
    axes.set(xscale="log", yscale="log", xlabel=f"{what} (log scale)", ylabel="ticks (log scale)")
    axes.xaxis.set_major_formatter(_US)
    axes.yaxis.set_major_formatter(_COUNT)
    axes.set_ylim(bottom=0.7)
    marks = [("half", 50), ("99 %", 99)] + ([("99.9 %", 99.9)] if len(values_us) >= TICKS_FOR_P999 else [])
    for (label, q), style in zip(marks, ("-", "--", ":"), strict=False):
        value = float(np.percentile(values_us, q))
        axes.axvline(value, color="black", linestyle=style, label=f"{label} below {microseconds(value)}")
    axes.axvline(float(values_us.max()), color=ORANGE, label=f"worst {microseconds(float(values_us.max()))}")
    if tick_us:
        axes.axvline(tick_us, color=RED, linewidth=2, label=f"one tick, {microseconds(tick_us)}")
    axes.legend(**_LEGEND)


def over_time(axes: Axes, episodes: Sequence[EpisodeTiming], fps: int) -> None:
    """Lateness of each tick."""
    offset = 0.0
    for number, episode in enumerate(episodes):
        scheduled = episode.columns["scheduled_ns"]
        seconds = offset + (scheduled - scheduled[0]) / 1e9
        late_us = np.maximum((episode.columns["started_ns"] - scheduled) / 1e3, 0.1)
        axes.plot(seconds, late_us, ".", markersize=2.5, color=BLUE, label="a tick" if not number else None)
        after = episode.columns["missed_slots"] > 0
        if after.any():
            late = episode.columns["missed_slots"][after] * 1e6 / fps + late_us[after]
            axes.plot(seconds[after], late, "x", color=RED, label=_once(axes, "missed slots (the first of them)"))
        offset = _boundary(axes, offset, seconds, episode, len(episodes))
    axes.axhline(1e6 / fps, color=RED, linestyle="--", linewidth=1, label=f"one tick, {microseconds(1e6 / fps)}")
    axes.set(yscale="log", xlabel=_TIME_AXIS, ylabel="lateness (log scale)")
    axes.yaxis.set_major_formatter(_US)
    axes.legend(**_LEGEND)


def sections(axes: Axes, episodes: Sequence[EpisodeTiming], fps: int) -> None:
    """The mean tick by section, and the busiest one of each stretch."""
    order = ("step", "teleop", "policy", "publish", "wait")
    frames = sum(episode.frames for episode in episodes)
    size = max(frames // _BINS_OVER_TIME, 1)
    starts = np.arange(0, frames, size)
    counts = np.diff(np.append(starts, frames))
    means = [
        np.add.reduceat(joined([e.columns[f"{name}_us"] for e in episodes]), starts) / counts / 1e3 for name in order
    ]
    axes.stackplot(
        starts,
        means,
        colors=[_COLOURS[name] for name in order],
        labels=[SECTION_WORDS[name] for name in order],
        step="post",
    )
    busiest = np.maximum.reduceat(joined([e.busy_us for e in episodes]), starts) / 1e3
    axes.step(starts, busiest, where="post", color="black", linewidth=0.8, label="the busiest tick, without waiting")
    top = float(busiest.max())
    if fps:
        axes.axhline(1e3 / fps, color=RED, linestyle="--", label=f"one tick, {1e3 / fps:.1f} ms")
        top = max(top, 1e3 / fps)
    axes.set(xlabel="frame, episode after episode", ylabel="milliseconds of a tick", ylim=(0, top * 1.15))
    axes.set_xlim(0, frames)
    axes.legend(**_LEGEND)


def missed(axes: Axes, episodes: Sequence[EpisodeTiming]) -> None:
    """Missed slots by episode and cause."""
    causes = [name for name in CAUSE_WORDS if any(e.missed_by[name] for e in episodes)]
    axes.set(xlabel="episode", ylabel="missed slots")
    if not causes:
        _only_text(axes, "no slot was missed", GREEN)
        return
    indices = [episode.index for episode in episodes]
    below = np.zeros(len(episodes))
    for cause in causes:
        heights = np.array([episode.missed_by[cause] for episode in episodes], float)
        colour = RED if cause == "wait" else _COLOURS[cause]
        axes.bar(indices, heights, bottom=below, color=colour, label=CAUSE_WORDS[cause], width=0.7)
        below += heights
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(**_LEGEND)


def ring(axes: Axes, episodes: Sequence[EpisodeTiming]) -> None:
    """What is held in the ring and what the writer is behind, over time."""
    offset = 0.0
    size = max(int(episode.columns["ring_slots"].max()) for episode in episodes)
    for number, episode in enumerate(episodes):
        started = episode.columns["started_ns"]
        seconds = offset + (started - started[0]) / 1e9
        first = number == 0
        lag, fill = episode.columns["writer_lag"], episode.columns["ring_fill"]
        axes.plot(seconds, lag, color=ORANGE, linewidth=2.4, label="not yet durable at the writer" if first else None)
        axes.plot(seconds, fill, color=BLUE, linewidth=1, label="held in the log ring" if first else None)
        offset = _boundary(axes, offset, seconds, episode, len(episodes))
    axes.axhline(size, color=RED, linestyle="--", label=f"the ring is full, {size} records")
    axes.set(xlabel=_TIME_AXIS, ylabel="records (one per frame)")
    axes.set_ylim(bottom=0)
    axes.legend(**_LEGEND)


def encode(axes: Axes, episodes: Sequence[EpisodeTiming]) -> None:
    """How long pictures took to encode, by camera."""
    found = encode_histograms(episodes)
    axes.set_ylabel("milliseconds")
    if not found:
        _only_text(axes, "no cameras, or nothing is known of them", GREY)
        return
    places = np.arange(len(found))
    bars = (("half of the pictures", 50, BLUE), ("99 %", 99, ORANGE), ("the slowest", 100, GREY))
    for number, (label, q, colour) in enumerate(bars):
        heights = [values.get_value_at_percentile(q) / 1e6 for values in found.values()]
        drawn = axes.bar(places + (number - 1) * 0.27, heights, width=0.25, color=colour, label=label)
        axes.bar_label(drawn, fmt="%.1f", fontsize=8)
    wanted_fps = episodes[0].facts["timing"]["wanted_fps"]
    axes.axhline(1e3 / wanted_fps, color=RED, linestyle="--", label=f"one tick, {1e3 / wanted_fps:.1f} ms")
    axes.set_xticks(places, [camera.removeprefix("observation.images.") for camera in found])
    axes.legend(**_LEGEND)


def _only_text(axes: Axes, text: str, colour: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=16, color=colour)
    axes.set(xticks=[], yticks=[])


def _boundary(axes: Axes, offset: float, seconds: NDArray[np.float64], episode: EpisodeTiming, count: int) -> float:
    """Mark where an episode begins; returns where the next one does."""
    if count <= 60:
        axes.axvline(offset, color=GREY, linewidth=0.8)
        axes.annotate(
            f" {episode.index}", (offset, 1.0), xycoords=("data", "axes fraction"), fontsize=7, color=GREY, va="top"
        )
    last = float(seconds[-1])
    return last + 1.0 / int(episode.facts["timing"]["wanted_fps"])


def _once(axes: Axes, label: str) -> str | None:
    return None if label in axes.get_legend_handles_labels()[1] else label


def microseconds(value: float, digits: int = 1) -> str:
    """A time given in microseconds, in the unit that reads best."""
    if value < 1000:
        return f"{value:.{0 if value >= 1 else digits}f} µs"
    return f"{value / 1000:.{digits}f} ms" if value < 1e6 else f"{value / 1e6:.{digits}f} s"


# Text of the ticks on logarithmic axes, instead of powers of ten.
_US = FuncFormatter(lambda value, _: microseconds(value, 0 if value >= 1 else 1))
_COUNT = FuncFormatter(lambda value, _: f"{value:,.0f}")

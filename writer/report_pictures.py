"""The pictures of the report with their words: what each shows, and what good looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from writer import report_plots as plots
from writer.report_data import EpisodeTiming, joined


@dataclass(frozen=True, slots=True)
class Picture:
    """One PNG; title and advice are drawn in it too."""

    name: str
    title: str
    good: str
    png: bytes


def pictures(episodes: Sequence[EpisodeTiming]) -> list[Picture]:
    """All of them, in reading order; those about the grid only if the loop was paced."""
    fps = max(episode.fps for episode in episodes)
    found: list[Picture] = []

    def add(name: str, title: str, good: str, draw: Callable[[Axes], None]) -> None:
        found.append(Picture(name, title, good, _draw(title, good, draw)))

    if fps:
        add(
            "lateness",
            "Lateness: how long after its slot each tick started",
            "Good: a narrow heap far left of the red line. At the red line a tick started a whole slot late.",
            lambda axes: plots.histogram(axes, joined([e.lateness for e in episodes]), fps, "lateness"),
        )
        add(
            "period_error",
            "Period error: how far each interval between two ticks was from 1/fps",
            "Good: everything below a hundredth of a tick. This is the jitter in the data that a policy is trained on.",
            lambda axes: plots.histogram(axes, joined([e.period_error for e in episodes]), fps, "period error"),
        )
        add(
            "lateness_over_time",
            "Lateness over time",
            "Good: a flat band, no red crosses. A rhythm points to another program, a growing band to heat or load.",
            lambda axes: plots.over_time(axes, episodes, fps),
        )
        add(
            "missed",
            "Missed slots by episode, and what took the time",
            "Good: nothing. A bar's colour is what the tick before the missed slot spent most of its time on.",
            lambda axes: plots.missed(axes, episodes),
        )
    add(
        "sections",
        "Where the time of each tick went",
        "Good: the coloured part, and the black line of the busiest ticks, stay well below the dashed line.",
        lambda axes: plots.sections(axes, episodes, fps),
    )
    add(
        "action_delay",
        "Action delay: from the slot to the moment the action was sent",
        "Good: a narrow heap. Policy, teleoperator and reading decide where; its width is what the robot feels.",
        lambda axes: plots.histogram(axes, joined([e.action_delay for e in episodes]), fps, "action delay"),
    )
    add(
        "ring",
        "Log ring and writer: frames that are not safe on the writer's disk yet",
        "Good: low teeth. A climbing line means a writer too slow for this load; at the dashed line the ring is full.",
        lambda axes: plots.ring(axes, episodes),
    )
    add(
        "encode",
        "What encoding one picture costs its camera's thread",
        "Good: the 99 % bars clearly below the dashed line. Above it, the encoder cannot keep up with the camera.",
        lambda axes: plots.encode(axes, episodes),
    )
    return found


def _draw(title: str, good: str, draw: Callable[[Axes], None]) -> bytes:
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    figure.supxlabel(good, fontsize=9, color="#444444", x=0.01, ha="left")
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()

"""What a load test found, for people and for scripts, and whether it is within the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from control.load_config import LoadFlags
from control.load_figures import TickFigures
from transport.timing import Figures


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """One run.

    Attributes:
        pictures_lost: published pictures that did not arrive under their own number; None if nobody counted.
        counted: how they were counted.
        writer_lag_s: how far the writer was behind at the worst, in seconds of recording.
        problems: what went wrong in the session, one line each.
    """

    fps: int
    figures: TickFigures
    ring_bytes: int
    writer_lag_s: float
    pictures_lost: int | None
    counted: str
    problems: tuple[str, ...]
    protections: Mapping[str, str]

    def exceeded(self, limits: LoadFlags) -> list[str]:
        """Which of the limits were exceeded, one line each."""
        late = self.figures.lateness_us
        p999 = None if late is None else late.p999
        found = (
            ("p99.9 of the lateness", p999, limits.max_p999_us, "µs", "--load.max_p999_us"),
            ("missed ticks", self.figures.missed_ticks, limits.max_missed, "", "--load.max_missed"),
            ("lost pictures", self.pictures_lost, limits.max_lost, "", "--load.max_lost"),
        )
        lines = []
        for name, value, limit, unit, flag in found:
            if limit is None:
                continue
            if value is None:
                lines.append(f"{name}: not measured, {flag}={limit:g} cannot be held")
            elif value > limit:
                lines.append(f"{name}: {value:g} {unit}".rstrip() + f", more than {flag}={limit:g}")
        return lines

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For the terminal."""
        f = self.figures
        fps = "-" if f.effective_fps is None else f"{f.effective_fps:.3f}"
        gap = "" if f.gap_ms is None else f"   gap between episodes {f.gap_ms[0]:.1f} ms, at most {f.gap_ms[1]:.1f} ms"
        lost = "not counted" if self.pictures_lost is None else str(self.pictures_lost)
        return [
            f"{'µs':<18}{'p50':>10}{'p99':>10}{'p99.9':>10}{'max':>10}",
            _row("period error", f.period_error_us),
            _row("lateness", f.lateness_us),
            _row("action sent", f.action_us),
            f"ticks {f.ticks} in {f.episodes} episodes, missed {f.missed_ticks}, {fps} of {self.fps} fps, drift "
            f"{f.drift_s:.6f} s{gap}",
            f"ring {self.ring_bytes / 1e6:.0f} MB, writer at most {self.writer_lag_s:.2f} s behind",
            f"pictures lost {lost} ({self.counted})",
            *(f"{name}: {state}" for name, state in self.protections.items()),
            *(f"problem: {problem}" for problem in self.problems),
        ]


def _row(name: str, figures: Figures | None) -> str:
    if figures is None:
        return f"{name:<18}{'-':>10}{'-':>10}{'-':>10}{'-':>10}"
    p999 = "-" if figures.p999 is None else f"{figures.p999:.1f}"
    return f"{name:<18}{figures.p50:>10.1f}{figures.p99:>10.1f}{p999:>10}{figures.max:>10.1f}"

"""From runs to what is printed and to `out/bench.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from control.load_figures import Spreads
from scripts.bench_kit.runs import Run
from transport.timing import figures_us

VOID_FLOOR_US = 100.0
SYSTEMS = ("onbeat", "lerobot", "floor")
_COUNTS = f"{'':<9}" + "".join(
    f"{title:>{width}}"
    for title, width in (
        ("fps", 10), ("missed", 9), ("lost", 9), ("drift s", 10), ("gap ms", 10),
        ("cpu s/1000 + commit", 22), ("memory MB", 12), ("stolen s", 10),
    )
)  # fmt: skip
SPREADS = ("period_error_us", "lateness_us", "action_us")


def is_void(floor: Run) -> bool:
    """Whether the machine was disturbed while this was measured: no better is possible than its floor.

    A p99.9 of a run's few thousand ticks decides, which as a figure would be too few.
    """
    return floor.spreads is not None and float(np.percentile(floor.spreads.lateness, 99.9)) / 1e3 > VOID_FLOOR_US


def medians(runs: Sequence[Mapping[str, Any]]) -> Any:
    """Field by field: the median of numbers, None where a run has none; of what is no number, the last run's."""
    newest = runs[-1]
    found: dict[str, Any] = {}
    for key, value in newest.items():
        values = [run.get(key) for run in runs]
        if isinstance(value, Mapping):
            found[key] = medians([v for v in values if isinstance(v, Mapping)])
        elif isinstance(value, tuple | list) and value and all(isinstance(v, int | float) for v in value):
            found[key] = [median(v) for v in zip(*(v for v in values if v), strict=True)]
        elif any(v is None for v in values):
            found[key] = None
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[key] = median(values)  # type: ignore[type-var] # all are numbers, by key
        else:
            found[key] = value
    return found


def summarize(name: str, repeats: Sequence[Mapping[str, Run]]) -> dict[str, Any]:
    """One load's entry: medians over its repeats that are not void, or over all if all are; p99.9 of all their ticks.

    Args:
        repeats: each with a run by system.
    """
    good = [repeat for repeat in repeats if not is_void(repeat["floor"])]
    used = good or list(repeats)
    return {
        "name": name,
        **{system: _of_system([repeat[system] for repeat in used]) for system in SYSTEMS},
        "runs_used": len(used),
        "void": not good,
    }


def _of_system(runs: Sequence[Run]) -> dict[str, Any]:
    gave = [run for run in runs if run.spreads is not None]
    if not gave:
        return runs[-1].to_json()
    found: dict[str, Any] = medians([run.to_json() for run in gave])
    found["failures"] = [run.failure for run in runs if run.spreads is None]
    _pool(found, [run.spreads for run in gave if run.spreads is not None])
    watched = [run.undisturbed for run in gave if run.undisturbed is not None]
    if watched:
        _pool(found["undisturbed"], [each.spreads for each in watched])
        for name in ("disturbed_ticks", "missed_slots"):
            found["undisturbed"][name] = sum(getattr(each, name) for each in watched)
    return found


def _pool(found: dict[str, Any], spreads: Sequence[Spreads]) -> None:
    """Put the p99.9 and the maximum of all runs' values into the figures of a system."""
    for name in SPREADS:
        if found.get(name):
            together = figures_us(np.concatenate([getattr(each, name.removesuffix("_us")) for each in spreads]))
            assert together is not None
            # The greatest of all runs stands beside their median: a median hides the one bad tick.
            found[name] = {**found[name], "p999": together.p999, "max_of_all": together.max}


def table(loads: Sequence[Mapping[str, Any]]) -> list[str]:
    """The loads for people; times in microseconds."""
    head = f"{'':<9}" + "".join(f"{title:>31}" for title in ("period error", "lateness", "action sent"))
    columns = f"{'':<9}" + f"{'p50':>7}{'p99':>8}{'p99.9':>8}{'max':>8}" * 3
    lines = []
    for load in loads:
        void = "   VOID: the floor's p99.9 exceeds 100 µs" if load["void"] else ""
        taken = f"median of {load['runs_used']} runs, p99.9 of all their ticks; µs"
        lines += [f"{load['name']}   ({taken}){void}", head, columns]
        lines += [_timing_line(system, load[system]) for system in SYSTEMS]
        if "undisturbed" in load["onbeat"]:
            lines.append(
                "without ticks before which a processor stood still (--stalls): how many; slots missed for other causes"
            )
            for system in SYSTEMS:
                left = load[system].get("undisturbed")
                if left:
                    lines.append(f"{_timing_line(system, left)}   {left['disturbed_ticks']}; {left['missed_slots']}")
            lines.append(f"a processor stood still for (ms of a run): {_stood_still(load)}")
        lines.append(_COUNTS)
        for system in SYSTEMS[:2]:
            lines.append(_count_line(system, load[system]))
        lines += [f"{system}: a run failed: {text}" for system in SYSTEMS for text in load[system].get("failures", ())]
        lines.append("")
    return lines


def ratios(loads: Sequence[Mapping[str, Any]]) -> list[str]:
    """lerobot's period error against onbeat's, and onbeat's lateness above the floor's, where p99.9 exists."""
    lines = []
    for load in loads:
        lines += _ratio(load["name"], load)
        if all("undisturbed" in load[system] for system in SYSTEMS):
            left = {system: load[system]["undisturbed"] for system in SYSTEMS}
            lines += _ratio(f"{load['name']}, undisturbed", left)
    return lines


def _ratio(name: str, load: Mapping[str, Any]) -> list[str]:
    for part in ("p999", "p99", "max"):
        ours, theirs = (_value(load[system], "period_error_us", part) for system in SYSTEMS[:2])
        late, floor = (_value(load[system], "lateness_us", part) for system in ("onbeat", "floor"))
        if ours and theirs and late is not None and floor is not None:
            return [
                f"{name}: period error {part} {theirs / ours:.0f} times better than lerobot's; "
                f"lateness {part} {late - floor:+.0f} µs against the floor's"
            ]
    return []


def _timing_line(system: str, found: Mapping[str, Any]) -> str:
    if "failure" in found:
        return f"{system:<9}{found['failure']}"
    cells = []
    for spread in SPREADS:
        for name, width in (("p50", 7), ("p99", 8), ("p999", 8), ("max", 8)):
            value = _value(found, spread, name)
            cells.append(f"{'-' if value is None else f'{value:.0f}':>{width}}")
    return f"{system:<9}" + "".join(cells)


def _stood_still(load: Mapping[str, Any]) -> str:
    told = []
    for system in SYSTEMS:
        left = load[system].get("undisturbed")
        if left:
            other = "" if left["elsewhere_ms"] is None else f" (one that ran nothing of it {left['elsewhere_ms']:.0f})"
            told.append(f"{system} {left['still_ms']:.0f}{other}")
    return ", ".join(told)


def _count_line(system: str, found: Mapping[str, Any]) -> str:
    if "failure" in found:
        return f"{system:<9}{'-':>10}"
    gap = "-" if not found["gap_ms"] else f"{found['gap_ms'][1]:.0f}"
    cpu, memory = dict(found["cpu_s_per_1000_frames"]), sum(found["memory_mb"].values())
    # The committer's import of lerobot, once a session, is most of it in a short run.
    commit = cpu.pop("committer", None)
    used = f"{sum(cpu.values()):.1f}" + ("" if commit is None else f" + {commit:.1f}")
    return (
        f"{system:<9}{found['effective_fps']:>10.3f}{found['missed_ticks']:>9.0f}{found['frames_lost']:>9.0f}"
        f"{found['drift_s']:>10.3f}{gap:>10}{used:>22}{memory:>12.0f}"
        f"{found['stolen_s']:>10.2f}"
    )


def _value(found: Mapping[str, Any], spread: str, name: str) -> float | None:
    values = found.get(spread)
    return None if not values else values[name]

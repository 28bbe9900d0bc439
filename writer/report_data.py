"""What the sidecars of a dataset say of its timing, read back for the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from transport.errors import UsageError
from transport.schema import LoopFlag
from transport.timing import Nanoseconds, lateness_ns, period_error_ns

_PLAIN = (
    "scheduled_ns", "started_ns", "action_sent_ns", "missed_slots", "loop_flags", "publish_us", "wait_us", "policy_us",
    "teleop_us", "step_us", "ring_fill", "ring_slots", "writer_lag",
)  # fmt: skip


@dataclass(frozen=True)
class EpisodeTiming:
    """One episode.

    Attributes:
        facts: its JSON file.
        columns: its telemetry by name without `onbeat.`, int64, one value per frame.
    """

    index: int
    facts: Mapping[str, Any]
    columns: Mapping[str, Nanoseconds]

    @property
    def frames(self) -> int:
        return len(self.columns["started_ns"])

    @cached_property
    def fps(self) -> int:
        """Frames per second of the grid; 0 if the loop was not paced."""
        paced = bool((self.columns["loop_flags"] & LoopFlag.PACED).all())
        return int(self.facts["timing"]["wanted_fps"]) if paced else 0

    @property
    def missed(self) -> int:
        return int(self.columns["missed_slots"].sum())

    @cached_property
    def lateness(self) -> Nanoseconds:
        """Of every slot, missed ones included."""
        scheduled, started, missed = (self.columns[name] for name in ("scheduled_ns", "started_ns", "missed_slots"))
        return lateness_ns(scheduled, started, missed.astype(np.uint32), self.fps)

    @cached_property
    def period_error(self) -> Nanoseconds:
        return period_error_ns(self.columns["started_ns"], self.fps)

    @cached_property
    def action_delay(self) -> Nanoseconds:
        return self.columns["action_sent_ns"] - self.columns["scheduled_ns"]

    @cached_property
    def missed_by(self) -> Counter[str]:
        """Missed slots by the section that took most of the tick before them; "wait" is a loop woken too late."""
        named, found = self.columns, Counter[str]()
        late_us = (named["started_ns"] - named["scheduled_ns"]) // 1000
        for tick in np.flatnonzero(named["missed_slots"][1:]) + 1:
            before = tick - 1
            spent = {name: named[f"{name}_us"][before] for name in ("policy", "teleop", "step")}
            spent |= {"wait": late_us[before], "publish": named["publish_us"][tick]}
            found[max(spent, key=lambda name: int(spent[name]))] += int(named["missed_slots"][tick])
        return found

    @property
    def busy_us(self) -> Nanoseconds:
        """By frame, everything but waiting."""
        names = ("publish_us", "policy_us", "teleop_us", "step_us")
        busy: Nanoseconds = np.sum([self.columns[name] for name in names], axis=0)
        return busy


def read_timing(root: Path) -> list[EpisodeTiming]:
    """The episodes of a dataset that onbeat recorded, in order.

    Raises:
        UsageError: there is nothing of the kind, or it cannot be read.
    """
    folder = root / "meta" / "onbeat"
    paths = sorted(folder.glob("episode-*.json"))
    if not paths:
        hint = "was it recorded with onbeat?" if (root / "meta" / "info.json").exists() else "is it a dataset's folder?"
        raise UsageError(f"{folder} with the timing of episodes was not found; {hint}")
    try:
        return [_read(path) for path in paths]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UsageError(f"{folder} cannot be read ({type(error).__name__}: {error}); was it changed?") from error


def encode_histograms(episodes: Sequence[EpisodeTiming]) -> dict[str, HdrHistogram]:
    """By camera, how long a picture took to encode, over all episodes, in nanoseconds."""
    found: dict[str, HdrHistogram] = {}
    for episode in episodes:
        for camera, facts in episode.facts["encoding"].get("cameras", {}).items():
            added = HdrHistogram.decode(facts["busy_ns_hdr"])
            if camera in found:
                found[camera].add(added)
            else:
                found[camera] = added
    return found


def gaps_s(episodes: Sequence[EpisodeTiming]) -> list[float | None]:
    """Seconds from the last tick of the episode before to the first of this one; None at the start of a session."""
    gaps: list[float | None] = []
    before: EpisodeTiming | None = None
    for episode in episodes:
        same = before is not None and before.facts["session_id"] == episode.facts["session_id"]
        first, last = episode.columns["started_ns"], before.columns["started_ns"] if before is not None else None
        gaps.append(float(first[0] - last[-1]) / 1e9 if same and last is not None else None)
        before = episode
    return gaps


def joined(arrays: Sequence[NDArray[np.int64]]) -> Nanoseconds:
    return np.concatenate(arrays) if arrays else np.array([], np.int64)


def _read(path: Path) -> EpisodeTiming:
    facts = json.loads(path.read_text(encoding="utf-8"))
    table = pq.read_table(path.with_suffix(".parquet"), columns=[f"onbeat.{name}" for name in _PLAIN])
    columns = {name: table[f"onbeat.{name}"].to_numpy().astype(np.int64) for name in _PLAIN}
    if not table.num_rows or not {"timing", "encoding", "session_id"} <= facts.keys():
        raise ValueError(f"{path.name} is not complete")
    return EpisodeTiming(int(path.stem.removeprefix("episode-")), facts, columns)

"""A LeRobotDataset v3 as files: what `info.json`, the episode rows and the data rows say, and whether they agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from writer.dataset_check import read_info

_INDEX_COLUMNS = ("index", "frame_index", "episode_index", "timestamp", "task_index")
# float32 rows of stock carry the time of a long episode to about this.
_TIME_TOLERANCE_S = 1e-4


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """One row of `meta/episodes`, without statistics."""

    values: Mapping[str, Any]

    @property
    def episode_index(self) -> int:
        return int(self.values["episode_index"])

    @property
    def length(self) -> int:
        return int(self.values["length"])

    @property
    def first(self) -> int:
        return int(self.values["dataset_from_index"])

    def video_start_s(self, camera: str) -> float:
        return float(self.values[f"videos/{camera}/from_timestamp"])


class DatasetFiles:
    """Reads a dataset and checks its rows; knows nothing of pictures.

    Raises:
        UsageError: `root` is not a LeRobotDataset v3.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.info = read_info(root)
        self.fps = float(self.info["fps"])
        self.features: Mapping[str, Any] = self.info["features"]
        self.cameras = tuple(key for key, feature in self.features.items() if feature["dtype"] == "video")
        self._problems_by_path: dict[Path, str] = {}

    def is_depth(self, camera: str) -> bool:
        return bool((self.features[camera].get("info") or {}).get("is_depth_map"))

    def video_path(self, row: EpisodeRow, camera: str) -> Path:
        return self.root / str(self.info["video_path"]).format(
            video_key=camera,
            chunk_index=row.values[f"videos/{camera}/chunk_index"],
            file_index=row.values[f"videos/{camera}/file_index"],
        )

    def data_path(self, row: EpisodeRow) -> Path:
        return self.root / str(self.info["data_path"]).format(
            chunk_index=row.values["data/chunk_index"], file_index=row.values["data/file_index"]
        )

    def episodes(self) -> tuple[list[EpisodeRow], list[str]]:
        """The rows of `meta/episodes` that `info.json` counts, in order, and what is wrong with their files."""
        rows, problems = [], []
        needed = {"episode_index", "length", "dataset_from_index", "data/chunk_index", "data/file_index"} | {
            f"videos/{camera}/{name}"
            for camera in self.cameras
            for name in ("chunk_index", "file_index", "from_timestamp")
        }
        for path in sorted((self.root / "meta" / "episodes").glob("*/*.parquet")):
            try:
                names = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
                if lacking := sorted(needed - set(names)):
                    problems.append(f"{path.relative_to(self.root)} lacks the column {lacking[0]}")
                    continue
                rows += [EpisodeRow(values) for values in pq.read_table(path, columns=names).to_pylist()]
            except (OSError, ValueError) as error:
                problems.append(f"{path.relative_to(self.root)} cannot be read ({_short(error)})")
        rows.sort(key=lambda row: row.episode_index)
        return rows, problems

    def check_totals(self, rows: list[EpisodeRow]) -> list[str]:
        """Whether `info.json` counts what `meta/episodes` lists."""
        problems = []
        found = [row.episode_index for row in rows]
        expected = list(range(int(self.info["total_episodes"])))
        if found != expected:
            missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
            if missing:
                problems.append(f"meta/episodes lacks episodes {missing} that info.json counts")
            if extra:
                problems.append(f"meta/episodes has episodes {extra} that info.json does not count")
            if len(set(found)) != len(found):
                problems.append("meta/episodes has two rows for one episode")
        frames = sum(row.length for row in rows)
        if frames != self.info["total_frames"]:
            problems.append(f"info.json counts {self.info['total_frames']} frames, meta/episodes {frames}")
        return problems

    def check_meta(self, rows: list[EpisodeRow]) -> list[str]:
        """Whether `stats.json` and `tasks.parquet` belong to these episodes."""
        problems = []
        try:
            stats = json.loads((self.root / "meta" / "stats.json").read_bytes()) if rows else {}
            described = {
                key for key, feature in self.features.items() if feature["dtype"] not in ("string", "language")
            }
            if rows and (lacking := sorted(described - set(stats))):
                problems.append(f"meta/stats.json lacks {', '.join(lacking)}")
            counted = stats.get("index", {}).get("count", [self.info["total_frames"]])[0]
            if counted != self.info["total_frames"]:
                problems.append(f"meta/stats.json is of {counted} frames, info.json counts {self.info['total_frames']}")
        except (OSError, ValueError) as error:
            problems.append(f"meta/stats.json cannot be read ({_short(error)})")
        try:
            tasks = pq.read_table(self.root / "meta" / "tasks.parquet").num_rows if rows else 0
            if tasks != self.info["total_tasks"]:
                problems.append(f"info.json counts {self.info['total_tasks']} tasks, meta/tasks.parquet has {tasks}")
        except (OSError, ValueError) as error:
            problems.append(f"meta/tasks.parquet cannot be read ({_short(error)})")
        return problems

    def check_rows(self, rows: list[EpisodeRow]) -> Iterator[tuple[EpisodeRow, list[str]]]:
        """For each episode what is wrong with its data rows."""
        path, table, broken = None, None, ""
        first = 0
        for row in rows:
            if self.data_path(row) != path:
                path = self.data_path(row)
                table, broken = self._index_columns(path)
            problems = [broken] if broken else []
            if table is not None:
                problems += self._check_episode_rows(row, table)
            if row.first != first:
                problems.append(f"dataset_from_index is {row.first}, expected {first}")
            first += row.length
            yield row, problems

    def _index_columns(self, path: Path) -> tuple[dict[str, Any] | None, str]:
        name = path.relative_to(self.root)
        try:
            # All columns are read: damage may lie in any of them.
            table = pq.read_table(path)
            lacking = sorted(
                key
                for key, feature in self.features.items()
                if feature["dtype"] != "video"
                if key not in table.column_names
            )
            if lacking:
                return None, f"{name} lacks the column {lacking[0]}"
            return {key: table[key].to_numpy() for key in _INDEX_COLUMNS}, ""
        except FileNotFoundError:
            return None, f"{name} is missing"
        except (OSError, ValueError) as error:
            return None, f"{name} cannot be read ({_short(error)})"

    def _check_episode_rows(self, row: EpisodeRow, table: Mapping[str, Any]) -> list[str]:
        mine = table["episode_index"] == row.episode_index
        found = int(mine.sum())
        if found != row.length:
            return [f"{found} rows, expected {row.length}"]
        k = np.arange(row.length)
        expected = {"frame_index": k, "index": row.first + k}
        problems = [
            f"{key} is not {values[0]} to {values[-1]}"
            for key, values in expected.items()
            if not np.array_equal(table[key][mine], values)
        ]
        if np.abs(table["timestamp"][mine] - k / self.fps).max(initial=0) > _TIME_TOLERANCE_S:
            problems.append("timestamp is not frame_index / fps")
        if not (table["task_index"][mine] < self.info["total_tasks"]).all():
            problems.append(f"task_index beyond the {self.info['total_tasks']} tasks")
        return problems


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__

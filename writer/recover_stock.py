"""A LeRobotDataset whose recorder was killed before it wrote the footers of its files: what is lost, what is whole.

A parquet file without its footer cannot be read by anything, so its rows are lost; stock keeps up to ten episodes'
metadata in memory, so that is lost too. Files are written one after the other: the episodes that are whole are a
beginning of the dataset, and they are copied into a new one. The original is never touched.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transport.errors import UsageError
from writer.dataset_files import DatasetFiles, EpisodeRow
from writer.sync import sync_tree
from writer.video_cut import cut_video
from writer.video_read import demux_count


@dataclass(slots=True)
class Salvage:
    """What is known of a damaged dataset.

    Attributes:
        episodes: the indices of those that whole files prove, from 0 on without a gap.
        problems: what is wrong, one line each.
        lost: what cannot be had back, one line each.
    """

    root: Path
    good: bool
    episodes: list[int]
    problems: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def examine(root: Path) -> Salvage:
    """Read everything but the pictures.

    Raises:
        UsageError: `root` is not a LeRobotDataset v3.
    """
    files = DatasetFiles(root)
    rows, problems = files.episodes()
    problems += _footers(root)
    wrong: dict[int, list[str]] = {row.episode_index: list(found) for row, found in files.check_rows(rows)}
    for camera in files.cameras:
        for index, line in _short_videos(files, rows, camera):
            wrong[index].append(line)
    whole: list[int] = []
    for row in rows:
        if row.episode_index != len(whole) or wrong[row.episode_index]:
            break
        whole.append(row.episode_index)
    problems += [f"episode {index}: {line}" for index, found in wrong.items() for line in found]
    counted = int(files.info["total_episodes"])
    lost = []
    if len(whole) < counted:
        frames = int(files.info["total_frames"]) - sum(row.length for row in rows[: len(whole)])
        first, last = len(whole), counted - 1
        lost.append(f"episodes {first} to {last} ({frames} frames): no whole file has their rows and metadata")
        lost += [f"  {line}" for line in _videos_left(files, rows[: len(whole)])]
    return Salvage(
        root, good=not problems and not lost, episodes=whole, problems=list(dict.fromkeys(problems)), lost=lost
    )


def salvage(found: Salvage, target: Path) -> None:
    """Write the whole episodes into a new dataset.

    Raises:
        UsageError: `target` exists.
        OSError: the disk does not take it; `target` does not exist then.
    """
    if target.exists():
        raise UsageError(f"{target} exists; move it away or choose another --salvage")
    draft = target.with_name(target.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(found, draft)
        sync_tree(draft)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _write(found: Salvage, draft: Path) -> None:
    files = DatasetFiles(found.root)
    rows = files.episodes()[0][: len(found.episodes)]
    keep = pa.array(found.episodes)
    for folder in ("data", "meta/episodes"):
        for path in sorted((found.root / folder).glob("*/*.parquet")):
            if not _has_footer(path):
                continue
            table = pq.read_table(path)
            kept = table.filter(pc.is_in(table["episode_index"], keep))
            if kept.num_rows:
                goal = draft / path.relative_to(found.root)
                goal.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(kept, goal, compression="snappy", use_dictionary=True)
    for camera in files.cameras:
        frames: dict[Path, int] = {}
        for row in rows:
            path = files.video_path(row, camera)
            frames[path] = frames.get(path, 0) + row.length
        for path, count in frames.items():
            cut_video(path, count, draft / path.relative_to(found.root))
    meta = draft / "meta"
    shutil.copy2(found.root / "meta" / "tasks.parquet", meta / "tasks.parquet")
    _write_info(files, rows, meta)
    # Imports lerobot, whose own aggregation makes the statistics.
    from writer.lerobot_private import aggregate_episode_stats

    (meta / "stats.json").write_text(json.dumps(aggregate_episode_stats(draft), indent=4), encoding="utf-8")


def _write_info(files: DatasetFiles, rows: list[EpisodeRow], meta: Path) -> None:
    info: dict[str, Any] = dict(files.info)
    info["total_episodes"] = len(rows)
    info["total_frames"] = sum(row.length for row in rows)
    info["splits"] = {"train": f"0:{len(rows)}"}
    (meta / "info.json").write_text(json.dumps(info, indent=4), encoding="utf-8")


def _footers(root: Path) -> list[str]:
    found = []
    for path in sorted([*root.glob("data/*/*.parquet"), *root.glob("meta/episodes/*/*.parquet")]):
        if not _has_footer(path):
            found.append(f"{path.relative_to(root)} has no footer: its recorder was killed before closing it")
    if not list(root.glob("meta/episodes/*/*.parquet")):
        found.append("meta/episodes has no file: the episodes' metadata was still in the recorder's memory")
    return found


def _has_footer(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 4, 0))
        return size >= 12 and file.read(4) == b"PAR1"


def _short_videos(files: DatasetFiles, rows: list[EpisodeRow], camera: str) -> list[tuple[int, str]]:
    found = []
    packets: dict[Path, int] = {}
    for row in rows:
        path = files.video_path(row, camera)
        if path not in packets:
            packets[path] = _packets(path)
        end = round(row.video_start_s(camera) * files.fps) + row.length
        if packets[path] < end:
            found.append((row.episode_index, f"{camera}: {packets[path]} frames in its file, expected at least {end}"))
    return found


def _videos_left(files: DatasetFiles, kept: list[EpisodeRow]) -> list[str]:
    """How many frames of video there are beyond the whole episodes: pictures without rows, for whoever wants them."""
    lines = []
    for camera in files.cameras:
        used = sum(row.length for row in kept)
        there = sum(_packets(path) for path in sorted((files.root / "videos" / camera).glob("*/*.mp4")))
        if there > used:
            lines.append(f"{camera}: {there - used} frames of video are left without rows, in {files.root / 'videos'}")
    return lines


def _packets(path: Path) -> int:
    try:
        return demux_count(path)
    except (FileNotFoundError, av.FFmpegError, IndexError):
        return 0

"""Does a dataset hold what it claims: decode every video of every episode and compare it with the rows.

Reads the files with pyarrow and PyAV alone, so it works without lerobot and also for datasets that lerobot wrote, with
several episodes in one file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from writer.dataset_files import DatasetFiles, EpisodeRow
from writer.video_read import DEPTH, RGB, decode_all, demux_count

# Beyond this a frame is not where stock LeRobot looks for it (its default `tolerance_s`).
TOLERANCE_S = 1e-4
ReadFrameNumber = Callable[[NDArray[np.uint8]], tuple[int, int] | None]


@dataclass(slots=True)
class EpisodeReport:
    """What was found of one episode.

    Attributes:
        rows: as its metadata counts them.
        decoded: frames decoded at their times, by camera.
        problems: one line for each thing that is missing or wrong; empty if all is well.
    """

    episode_index: int
    rows: int
    decoded: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify`.

    Attributes:
        episodes: one report each, in order.
        problems: what concerns the dataset as a whole.
    """

    episodes: list[EpisodeReport]
    problems: list[str]

    @property
    def good(self) -> bool:
        return not self.problems and not any(episode.problems for episode in self.episodes)


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What the committed files hold.

    Attributes:
        missing_frames: rows without a packet, over all cameras.
        packets: packets by camera.
    """

    episodes: int
    frames: int
    missing_frames: int
    packets: Mapping[str, int]


def verify(
    root: Path,
    read_frame_number: ReadFrameNumber | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Decode everything and compare.

    Args:
        read_frame_number: reads (frame number, camera index) from a picture of shape (height, width, 3) uint8, None if
            there is none. The number is expected to be the frame's index in its episode, the camera's index its place
            among the dataset's cameras.
        on_progress: called with the rows looked at so far and all of them, counted once per camera.

    Raises:
        UsageError: `root` is not a LeRobotDataset v3.
    """
    files = DatasetFiles(root)
    rows, problems = files.episodes()
    reports = {row.episode_index: EpisodeReport(row.episode_index, row.length) for row in rows}
    problems += files.check_totals(rows) + files.check_meta(rows)
    for row, found in files.check_rows(rows):
        reports[row.episode_index].problems += found
    done, total = 0, sum(row.length for row in rows) * len(files.cameras)
    for number, camera in enumerate(files.cameras):
        for path, inside in _by_video(files, rows, camera).items():
            pixel_format = DEPTH if files.is_depth(camera) else RGB
            reader = None if files.is_depth(camera) else read_frame_number
            for row, decoded, found in _check_video(files, path, inside, camera, number, reader, pixel_format):
                reports[row.episode_index].decoded[camera] = decoded
                reports[row.episode_index].problems += found
                done += row.length
                on_progress(done, total)
    return Verification([reports[index] for index in sorted(reports)], problems)


def count_packets(root: Path, first_episode: int = 0) -> dict[str, int]:
    """Packets by camera in the video files of the episodes from `first_episode` on; nothing is decoded.

    Raises:
        UsageError: `root` is not a LeRobotDataset v3.
    """
    return dict(summary(root, first_episode).packets)


def summary(root: Path, first_episode: int = 0) -> DatasetSummary:
    """Count by demultiplexing alone. A file that cannot be read has no packets.

    Args:
        first_episode: episodes before it are left out, unless they share a video file with one that is not.

    Raises:
        UsageError: `root` is not a LeRobotDataset v3.
    """
    files = DatasetFiles(root)
    all_rows, _ = files.episodes()
    rows = [row for row in all_rows if row.episode_index >= first_episode]
    packets, missing = Counter(dict.fromkeys(files.cameras, 0)), 0
    for camera in files.cameras:
        wanted = set(_by_video(files, rows, camera))
        for path, inside in _by_video(files, all_rows, camera).items():
            if path in wanted:
                found = _packets(path)
                packets[camera] += found
                missing += max(0, sum(row.length for row in inside) - found)
    return DatasetSummary(len(rows), sum(row.length for row in rows), missing, packets)


def _packets(path: Path) -> int:
    try:
        return demux_count(path)
    except (av.FFmpegError, IndexError):
        return 0


def _by_video(files: DatasetFiles, rows: list[EpisodeRow], camera: str) -> dict[Path, list[EpisodeRow]]:
    grouped: dict[Path, list[EpisodeRow]] = {}
    for row in rows:
        grouped.setdefault(files.video_path(row, camera), []).append(row)
    return grouped


def _check_video(
    files: DatasetFiles,
    path: Path,
    rows: list[EpisodeRow],
    camera: str,
    number: int,
    read_frame_number: ReadFrameNumber | None,
    pixel_format: str,
) -> Iterator[tuple[EpisodeRow, int, list[str]]]:
    """For each episode in one video file: the frames at their times, and what is wrong."""
    times: list[float] = []
    codes: list[Any] = []
    broken = ""
    try:
        for frame in decode_all(path, pixel_format if read_frame_number else None):
            times.append(frame.time_s)
            if read_frame_number is not None and frame.picture is not None:
                codes.append(read_frame_number(frame.picture))
    except FileNotFoundError:
        broken = f"{camera}: {path.relative_to(files.root)} is missing"
    except (av.FFmpegError, IndexError) as error:
        broken = f"{camera}: {path.relative_to(files.root)} does not decode ({error})"
    time_s = np.array(times)
    expected_count = sum(row.length for row in rows)
    for row in rows:
        problems = [broken] if broken else []
        expected = row.video_start_s(camera) + np.arange(row.length) / files.fps
        at = _nearest(time_s, expected)
        present = np.abs(time_s[at] - expected) <= TOLERANCE_S if len(time_s) else np.zeros(row.length, dtype=bool)
        if not broken and not present.all():
            lost = np.flatnonzero(~present)
            problems.append(f"{camera}: {len(lost)} of {row.length} frames missing at their times: {_some(lost)}")
        if not broken and len(times) > expected_count and row is rows[-1]:
            problems.append(f"{camera}: {len(times) - expected_count} frames more than rows")
        if codes:
            wrong = [k for k in np.flatnonzero(present) if codes[at[k]] != (k, number)]
            if wrong:
                shown = f"frame {wrong[0]} shows {codes[at[wrong[0]]]}, expected {(int(wrong[0]), number)}"
                problems.append(f"{camera}: {len(wrong)} pictures are not their row's: {shown}")
        yield row, int(present.sum()), problems


def _nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    if len(times) == 0:
        return np.zeros(len(wanted), dtype=np.intp)
    right = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(times[left] - wanted) <= np.abs(times[right] - wanted), left, right)


def _some(indices: NDArray[np.intp]) -> str:
    shown = ", ".join(str(i) for i in indices[:8])
    return shown if len(indices) <= 8 else f"{shown}, ..."

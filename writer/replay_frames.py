"""Decodes a recorded dataset into memory, ahead of a replay; a process of its own.

The robot side neither imports PyAV nor reads parquet: it gets the frames as plain memory, laid out as
`transport.replay` says, in the form in which the dataset declares them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from transport.errors import OnbeatError, SchemaError, UsageError
from transport.link import child_link
from transport.replay import ReplayEpisode, ReplayLayout
from transport.ring_memory import available_memory_bytes
from transport.schema import CHW, HWC, Kind, Schema, Stream
from writer.dataset_files import DatasetFiles, EpisodeRow
from writer.video_read import decode_frames

_DEFAULT_COLUMNS = frozenset(["timestamp", "frame_index", "episode_index", "index", "task_index"])
# The log ring and the encoders need memory as well.
_MEMORY_PART = 0.6


class Recording:
    """A dataset on disk, or some of its episodes.

    Args:
        episodes: indices, in the order in which they are to be replayed; None for all.

    Raises:
        UsageError: not a LeRobotDataset v3, no such episode, or streams that cannot be replayed.
    """

    def __init__(self, root: Path, episodes: Sequence[int] | None) -> None:
        self._files = DatasetFiles(root)
        rows, problems = self._files.episodes()
        if problems:
            raise UsageError(f"{root}: {problems[0]}; see onbeat verify {root}")
        by_index = {row.episode_index: row for row in rows}
        wanted = list(by_index) if episodes is None else list(episodes)
        if unknown := [index for index in wanted if index not in by_index]:
            raise UsageError(f"--load.episodes: episode {unknown[0]} found, {root} has 0 to {len(rows) - 1}")
        if not wanted:
            raise UsageError(f"{root} has no episodes to replay")
        self._rows = [by_index[index] for index in wanted]
        schema = Schema(tuple(_streams(self._files.features)))
        self.layout = ReplayLayout(
            schema,
            int(self._files.fps),
            self._files.info.get("robot_type"),
            tuple(ReplayEpisode(row.length, str(row.values["tasks"][0])) for row in self._rows),
        )

    def decode(self, memory: NDArray[np.uint8]) -> None:
        """Fill memory of `layout.nbytes` bytes.

        Raises:
            av.FFmpegError, LookupError: a video does not decode, or lacks a frame.
            UsageError: a column is missing.
        """
        rows, pictures = self.layout.arrays(memory)
        starts = np.cumsum([0, *(row.length for row in self._rows)])
        self._read_rows(rows, starts.tolist())
        jobs = [
            (row, camera.key, camera.channels_first, of_camera[start : start + row.length])
            for camera, of_camera in zip(self.layout.schema.pictures, pictures, strict=True)
            for row, start in zip(self._rows, starts, strict=False)
        ]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(lambda job: self._decode(*job), jobs):
                pass

    def _decode(self, row: EpisodeRow, camera: str, channels_first: bool, to: NDArray[Any]) -> None:
        fps = self._files.fps
        first = round(row.video_start_s(camera) * fps)
        path = self._files.video_path(row, camera)
        for place, picture in zip(to, decode_frames(path, range(first, first + row.length), fps), strict=True):
            np.copyto(place, picture.transpose(2, 0, 1) if channels_first else picture)

    def _read_rows(self, rows: NDArray[np.void], starts: list[int]) -> None:
        for row, start in zip(self._rows, starts, strict=False):
            path = self._files.data_path(row)
            table = pq.read_table(path, filters=[("episode_index", "==", row.episode_index)])
            for stream in self.layout.schema.rows:
                if stream.key not in table.column_names or table.num_rows != row.length:
                    raise UsageError(
                        f"{path} has {table.num_rows} rows of episode {row.episode_index} and the columns "
                        f"{', '.join(table.column_names)}, expected {row.length} rows and {stream.key}"
                    )
                values = np.array(table[stream.key].to_pylist(), stream.dtype)
                rows[stream.key][start : start + row.length] = values.reshape(row.length, *stream.shape)


def _streams(features: Mapping[str, Mapping[str, Any]]) -> list[Stream]:
    """A dataset's features as the streams of a source.

    Raises:
        SchemaError: a feature of a form that cannot be recorded.
    """
    streams = []
    for key, feature in features.items():
        if key in _DEFAULT_COLUMNS:
            continue
        shape, names = tuple(feature["shape"]), feature.get("names")
        if feature["dtype"] not in ("video", "image"):
            named = tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
            streams.append(Stream(key, feature["dtype"], shape, Kind.ROW, named))
        elif feature["dtype"] == "image" or (feature.get("info") or {}).get("is_depth_map"):
            raise SchemaError(f"{key} is a depth or image feature; only videos can be replayed, leave it out")
        else:
            first = names[0] if isinstance(names, list) and names else "height"
            streams.append(Stream(key, "uint8", shape, Kind.VIDEO, CHW if str(first).startswith("channel") else HWC))
    return streams


def main() -> int:
    """Entry of the process; its link's first message has `root` and `episodes`. Answers `layout` with the memory."""
    link, config, _ = child_link()
    root = Path(config["root"])
    try:
        recording = Recording(root, config["episodes"])
        needed, available = recording.layout.nbytes, available_memory_bytes()
        if needed > available * _MEMORY_PART:
            raise UsageError(
                f"{root} decodes to {needed / 1e9:.1f} GB and {available / 1e9:.1f} GB of memory are free; choose "
                "fewer episodes with --load.episodes"
            )
        fd = os.memfd_create("onbeat-replay", os.MFD_CLOEXEC)
        os.posix_fallocate(fd, 0, needed)
        recording.decode(np.frombuffer(mmap.mmap(fd, needed), np.uint8))
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return 1
    except (OSError, LookupError, av.FFmpegError) as error:
        link.send({"failed": f"{root} cannot be replayed ({error}); see onbeat verify {root}", "exit_code": 1})
        return 1
    link.send({"layout": recording.layout.to_wire()}, [fd])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

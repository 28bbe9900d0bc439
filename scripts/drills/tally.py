"""What is in a dataset, counted by decoding: rows, pictures by the number drawn in them, and what recovery reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control.envs import frame_code
from control.envs.views import camera_names
from writer.dataset_files import DatasetFiles
from writer.verify import verify
from writer.video_read import RGB, decode_all


@dataclass(slots=True)
class Found:
    """What the files hold.

    Attributes:
        rows: of all episodes.
        duplicated: pictures whose number was there before in the same episode and camera.
        problems: rows and pictures that do not fit together, one line each.
    """

    episodes: int = 0
    rows: int = 0
    duplicated: int = 0
    problems: list[str] = field(default_factory=list)


def count(root: Path) -> Found:
    """Decode every frame of every camera; its number in the pixels must be its row's."""
    if not root.exists():
        return Found()
    files = DatasetFiles(root)
    # The number in a picture is the camera's in the environment; datasets list cameras in an order of their own.
    drawn = {f"observation.images.{name}": index for index, name in enumerate(camera_names(len(files.cameras)))}
    place = {drawn[camera]: number for number, camera in enumerate(files.cameras)}

    def read(picture: NDArray[np.uint8]) -> tuple[int, int] | None:
        code = frame_code.read(picture)
        return None if code is None else (code[0], place.get(code[1], -1))

    result = verify(root, read)
    found = Found(len(result.episodes), sum(episode.rows for episode in result.episodes))
    found.problems += result.problems
    found.problems += [f"episode {e.episode_index}: {line}" for e in result.episodes for line in e.problems]
    for number, camera in enumerate(files.cameras):
        for row in files.episodes()[0]:
            seen: set[int] = set()
            for frame in decode_all(files.video_path(row, camera), RGB):
                assert frame.picture is not None
                code = read(frame.picture)
                if code is None or code[1] != number:
                    found.problems.append(f"episode {row.episode_index}, {camera}: a picture shows {code}")
                elif code[0] in seen:
                    found.duplicated += 1
                else:
                    seen.add(code[0])
    return found


def discarded(output: str) -> int:
    """Frames of takes that the operator discarded, from a recorder's words."""
    return sum(int(frames) for frames in re.findall(r"^take \d+: discarded.*?, (\d+) frames", output, re.MULTILINE))


def reported_lost(output: str) -> int:
    """What `onbeat recover` says is lost, in frames."""
    found = re.search(r"^published (\d+)  durable (\d+)  lost (\d+) ", output, re.MULTILINE)
    return int(found.group(3)) if found else 0


def unbegun(output: str) -> int:
    """Frames of episodes of which nothing was journalled, because their beginning was lost; from a recorder's words."""
    found = re.findall(r"^problem .*frames 0 to (\d+): its beginning was lost", output, re.MULTILINE)
    return sum(int(last) + 1 for last in found)

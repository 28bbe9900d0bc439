"""What is in a dataset, counted by decoding: rows, pictures by the number drawn in them, and what recovery reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from control.envs import frame_code
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
    result = verify(root, frame_code.read)
    found = Found(len(result.episodes), sum(episode.rows for episode in result.episodes))
    found.problems += result.problems
    found.problems += [f"episode {e.episode_index}: {line}" for e in result.episodes for line in e.problems]
    files = DatasetFiles(root)
    for number, camera in enumerate(files.cameras):
        for row in files.episodes()[0]:
            seen: set[int] = set()
            for frame in decode_all(files.video_path(row, camera), RGB):
                assert frame.picture is not None
                code = frame_code.read(frame.picture)
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

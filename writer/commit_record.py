"""What a commit writes down beside the dataset: what it is about to do, and what is done.

ROOT.onbeat/intent.json       whole or absent
ROOT.onbeat/committed.jsonl   one line for each committed episode, so that none is committed twice
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from writer.sync import sync_directory


@dataclass(frozen=True, slots=True)
class Committed:
    """An episode that is in the dataset.

    Attributes:
        episode_index: its index in the dataset.
        frames: its rows.
        packets_by_camera: packets demuxed from its committed files.
    """

    episode_index: int
    frames: int
    packets_by_camera: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Move:
    """One rename. `path` is relative to the staging tree and to the dataset alike; `.` is the whole dataset."""

    step: str
    path: str


@dataclass(frozen=True, slots=True)
class Intent:
    """A commit that has been decided.

    Attributes:
        moves: in order; the last one makes the episode count.
        videos: the path of each camera's MP4, relative to the dataset.
    """

    session_id: str
    episode_id: int
    episode_index: int
    frames: int
    videos: Mapping[str, str]
    moves: tuple[Move, ...]


def write_intent(intent: Intent, work_dir: Path) -> None:
    """Durable when it returns; a kill leaves the whole record or none."""
    draft, final = work_dir / "intent.json.new", work_dir / "intent.json"
    with draft.open("w") as file:
        json.dump(asdict(intent), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, final)
    sync_directory(work_dir)


def read_intent(work_dir: Path) -> Intent | None:
    try:
        value = json.loads((work_dir / "intent.json").read_bytes())
    except FileNotFoundError:
        return None
    return Intent(**{**value, "moves": tuple(Move(**move) for move in value["moves"])})


def remove_intent(work_dir: Path) -> None:
    (work_dir / "intent.json").unlink()
    sync_directory(work_dir)


class CommitRecord:
    """Which episodes of which sessions are in the dataset, durably. One owner at a time."""

    def __init__(self, work_dir: Path) -> None:
        self._path = work_dir / "committed.jsonl"
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        # A last line without its end was being written when the power went; its commit is still in the intent.
        self._length = data.rfind(b"\n") + 1
        self.episodes: dict[tuple[str, int], Committed] = {}
        for line in data[: self._length].splitlines():
            value = json.loads(line)
            key = value.pop("session_id"), value.pop("episode_id")
            self.episodes[key] = Committed(**value)

    def add(self, session_id: str, episode_id: int, committed: Committed) -> None:
        """Add an episode unless it is there; durable when it returns."""
        if (session_id, episode_id) in self.episodes:
            return
        line = json.dumps({"session_id": session_id, "episode_id": episode_id, **asdict(committed)}).encode() + b"\n"
        with self._path.open("ab") as file:
            file.truncate(self._length)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self._path.parent)
        self._length += len(line)
        self.episodes[session_id, episode_id] = committed

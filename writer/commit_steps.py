"""The steps that move a staged episode into the dataset, and the records that let them be repeated.

A commit is a list of renames. Before the first one the list is written down as the intent; from then on the commit can
only go forward, whoever was killed and wherever: recovery repeats the list and skips what is done. The last rename is
that of `info.json`, and with it the episode counts. No lerobot here: recovery is quick.

    ROOT.onbeat/staging/tree/     what the dataset's files will be
    ROOT.onbeat/intent.json       whole or absent
    ROOT.onbeat/committed.jsonl   one line for each committed episode, so that none is committed twice
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from writer.errors import CommitError
from writer.video_read import demux_count

INFO = "meta/info.json"
_REPLACED = ("stats", "tasks", "info")
OnStep = Callable[[str], None]


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


def sidecar_path(episode_index: int, suffix: str) -> str:
    return f"meta/onbeat/episode-{episode_index:06d}.{suffix}"


def plan_moves(tree: Path, root: Path, videos: Mapping[str, str]) -> tuple[Move, ...]:
    """The renames that bring `tree` into `root`, in the order in which stock LeRobot can open every state between them.

    A dataset that does not exist yet appears whole, by one rename.

    Raises:
        CommitError: a file is in the way that the dataset does not count.
    """
    if not root.exists():
        return (Move("dataset", "."),)
    named = {path: f"videos/{key}" for key, path in videos.items()}
    moves = []
    for path in sorted(str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()):
        moves.append(Move(named.get(path) or _step_of(path), path))
    moves.sort(key=lambda move: _ORDER.index(move.step.split("/")[0]))
    for move in moves:
        if move.step not in (*_REPLACED, "sidecar") and (root / move.path).exists():
            raise CommitError(
                f"{root / move.path} is in the way: info.json does not count it, so an interrupted recording left it; "
                "move it away, then start again to commit the episode from its journal"
            )
    return tuple(moves)


_ORDER = ("videos", "data", "sidecar", "stats", "tasks", "episodes", "info")


def _step_of(path: str) -> str:
    known = {INFO: "info", "meta/stats.json": "stats", "meta/tasks.parquet": "tasks"}
    prefixes = {"data/": "data", "meta/onbeat/": "sidecar", "meta/episodes/": "episodes"}
    step = known.get(path) or next((s for prefix, s in prefixes.items() if path.startswith(prefix)), None)
    if step is None:
        raise CommitError(f"lerobot staged {path}, which this version does not know; its journal is kept")
    return step


def recover(root: Path, work_dir: Path, record: CommitRecord, on_step: OnStep = lambda step: None) -> Committed | None:
    """Complete the commit that was interrupted, or drop what it had staged; idempotent.

    Returns:
        The episode completed, or None if there was none to complete.
    """
    intent = read_intent(work_dir)
    if intent is None:
        drop_staging(work_dir)
        return None
    return roll_forward(intent, root, work_dir, record, on_step)


def roll_forward(intent: Intent, root: Path, work_dir: Path, record: CommitRecord, on_step: OnStep) -> Committed:
    """Carry out what is left of an intent, from wherever it stopped, and clean up.

    Raises:
        CommitError: the dataset or the staging tree is no longer what it was when the commit was decided.
    """
    tree = work_dir / "staging" / "tree"
    counted = counted_episodes(root)
    if counted == intent.episode_index:
        _move_all(intent, tree, root, on_step)
    elif counted != intent.episode_index + 1 or not _is_ours(intent, root):
        raise CommitError(
            f"{root} has {counted} episodes, expected {intent.episode_index} before or {intent.episode_index + 1} "
            f"after the interrupted commit: it was changed meanwhile; remove {work_dir / 'intent.json'} to give up "
            "that commit and to repeat it from the journal"
        )
    on_step("record")
    committed = Committed(
        intent.episode_index,
        intent.frames,
        {key: demux_count(root / path) for key, path in intent.videos.items()},
    )
    record.add(intent.session_id, intent.episode_id, committed)
    on_step("clean")
    drop_staging(work_dir)
    (work_dir / "intent.json").unlink()
    sync_directory(work_dir)
    on_step("done")
    return committed


def _move_all(intent: Intent, tree: Path, root: Path, on_step: OnStep) -> None:
    for move in intent.moves:
        if move is intent.moves[-1]:
            on_step("verify")
            _verify(intent, tree if move.path == "." else root)
        on_step(move.step)
        source, target = tree / move.path, root / move.path
        if not source.exists():
            if not target.exists():
                raise CommitError(f"{source} is missing and {target} too; remove the intent to repeat the commit")
            continue
        make_directories(target.parent)
        os.replace(source, target)
        sync_directory(target.parent)


def _verify(intent: Intent, root: Path) -> None:
    for key, path in intent.videos.items():
        packets = demux_count(root / path)
        if packets != intent.frames:
            raise CommitError(
                f"{root / path} ({key}) has {packets} packets, expected {intent.frames}: the disk did not keep what "
                "was written; the episode is not counted"
            )


def _is_ours(intent: Intent, root: Path) -> bool:
    try:
        sidecar = json.loads((root / sidecar_path(intent.episode_index, "json")).read_bytes())
    except FileNotFoundError:
        return False
    return (sidecar["session_id"], sidecar["episode_id"]) == (intent.session_id, intent.episode_id)


def counted_episodes(root: Path) -> int:
    """How many episodes `info.json` counts; 0 if there is no dataset."""
    try:
        return int(json.loads((root / INFO).read_bytes())["total_episodes"])
    except FileNotFoundError:
        return 0


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


def drop_staging(work_dir: Path) -> None:
    if (work_dir / "staging").exists():
        shutil.rmtree(work_dir / "staging")


def sync_tree(tree: Path) -> None:
    """Make every file and folder of `tree` durable."""
    for folder, _, files in os.walk(tree):
        for name in files:
            with Path(folder, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(folder: Path) -> None:
    """Make `folder` and what is missing above it, durably."""
    if folder.exists():
        return
    make_directories(folder.parent)
    folder.mkdir()
    sync_directory(folder.parent)

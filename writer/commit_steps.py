"""The steps that move a staged episode into the dataset, and the records that let them be repeated.

A commit is a list of renames. Before the first one the list is written down as the intent; from then on the commit can
only go forward, whoever was killed and wherever: recovery repeats the list and skips what is done. The last rename is
that of `info.json`, and with it the episode counts. No lerobot here: recovery is quick.

    ROOT.onbeat/staging/tree/     what the dataset's files will be
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from writer.commit_record import CommitRecord, Committed, Intent, Move, read_intent, remove_intent
from writer.errors import CommitError
from writer.sync import make_directories, sync_directory
from writer.video_read import demux_count

INFO = "meta/info.json"
_REPLACED = ("stats", "tasks", "info")
OnStep = Callable[[str], None]


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
    remove_intent(work_dir)
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


def drop_staging(work_dir: Path) -> None:
    if (work_dir / "staging").exists():
        shutil.rmtree(work_dir / "staging")

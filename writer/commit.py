"""Put finished episodes into a LeRobotDataset, one at a time, so that a kill at any moment loses none of them.

    stage     lerobot writes the episode's files into a tree beside the dataset; they are checked and made durable
    intent    the list of renames is written down: from here on the commit only goes forward
    renames   videos, data, sidecar, stats, tasks, episodes, and at last info.json, which makes the episode count
    record    the episode is remembered as committed
    clean     staging and intent are removed

Between any two steps stock LeRobot opens the dataset with the episodes before or after this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av

from transport.dataset_spec import DatasetSpec
from transport.schema import Schema
from writer.commit_record import CommitRecord, Committed, Intent, write_intent
from writer.commit_steps import OnStep, drop_staging, plan_moves, recover, roll_forward
from writer.dataset_check import compare
from writer.episode import FinishedEpisode
from writer.errors import CommitError, DatasetMismatchError
from writer.latest_episode import latest_episode
from writer.lerobot_private import stage_episode
from writer.sidecar import write_sidecar
from writer.sync import make_directories, sync_tree

__all__ = ["Committed", "Committer"]


class Committer:
    """Owns a dataset for as long as episodes are put into it; there may be only one for each dataset.

    Args:
        root: the dataset's folder. It comes into being with the first episode.
        work_dir: `ROOT.onbeat`, on the same file system; made if missing.
        spec, schema: what every episode is recorded as.
        on_step: called with the name of each step before it is done, and with "done" after the last.

    Raises:
        CommitError: an interrupted commit cannot be completed.
    """

    def __init__(
        self, root: Path, work_dir: Path, spec: DatasetSpec, schema: Schema, on_step: OnStep = lambda step: None
    ) -> None:
        self._root, self._work_dir = root, work_dir
        self._spec, self._schema = spec, schema
        self._on_step = on_step
        self._latest: Mapping[str, Any] | None = None
        make_directories(work_dir)
        self._record = CommitRecord(work_dir)
        self.recover()

    def recover(self) -> Committed | None:
        """Complete the commit that was interrupted, or drop what it had staged; idempotent.

        Returns:
            The episode completed, or None if there was none to complete.
        """
        with _as_commit_error(self._root):
            completed = recover(self._root, self._work_dir, self._record, self._on_step)
        if completed is not None:
            self._latest = None
        return completed

    def committed(self) -> dict[tuple[str, int], int]:
        """The dataset's index of every committed episode by (session_id, episode_id)."""
        return {key: done.episode_index for key, done in self._record.episodes.items()}

    def find(self, session_id: str, episode_id: int) -> Committed | None:
        """What was committed as this episode; None if it is not in the dataset."""
        return self._record.episodes.get((session_id, episode_id))

    def commit(self, episode: FinishedEpisode, write_video: Callable[[str, Path], None]) -> Committed:
        """Put one episode into the dataset. An episode that is there already is not put in again.

        Args:
            write_video: writes the MP4 of a camera, given its key and a path.

        Raises:
            CommitError: the episode cannot be put in; the dataset is as it was.
            DatasetMismatchError: the dataset on disk is not the one that the session describes.
        """
        # An earlier call may have failed half-way, on a full disk for example.
        self.recover()
        key = (episode.session_id, episode.episode_id)
        if key in self._record.episodes:
            return self._record.episodes[key]
        if len(episode.rows) == 0:
            raise CommitError(f"episode {episode.episode_id} has no frames; discard it")
        with _as_commit_error(self._root):
            latest = self._latest_episode(episode.session_id)
            intent, row = self._stage(episode, latest, write_video)
            self._on_step("intent")
            write_intent(intent, self._work_dir)
            committed = roll_forward(intent, self._root, self._work_dir, self._record, self._on_step)
        self._latest = row
        return committed

    def _latest_episode(self, session_id: str) -> Mapping[str, Any] | None:
        """The row of the latest episode; read from disk once, remembered from then on."""
        mine = self._spec.resume or any(session == session_id for session, _ in self._record.episodes)
        point = compare(self._root, replace(self._spec, resume=mine), self._schema)
        if point is None or point.total_episodes == 0:
            return None
        if self._latest is None:
            self._latest = latest_episode(self._root, point.total_episodes)
        expected = self._latest["episode_index"] + 1
        if point.total_episodes != expected:
            raise DatasetMismatchError(
                f"{self._root} has {point.total_episodes} episodes, expected {expected}: it was changed while it was "
                "recorded into; start again with --resume=true"
            )
        return self._latest

    def _stage(
        self, episode: FinishedEpisode, latest: Mapping[str, Any] | None, write_video: Callable[[str, Path], None]
    ) -> tuple[Intent, Mapping[str, Any]]:
        """Write and check everything, durably, without touching the dataset."""
        self._on_step("stage")
        tree = self._work_dir / "staging" / "tree"
        drop_staging(self._work_dir)
        make_directories(tree.parent)
        staged = stage_episode(tree, self._root if self._root.exists() else None, latest, episode, write_video)
        index = int(staged.row["episode_index"])
        write_sidecar(tree, index, episode)
        intent = Intent(
            session_id=episode.session_id,
            episode_id=episode.episode_id,
            episode_index=index,
            frames=len(episode.rows),
            videos=staged.videos,
            moves=plan_moves(tree, self._root, staged.videos),
        )
        sync_tree(tree)
        return intent, staged.row


@contextmanager
def _as_commit_error(root: Path) -> Iterator[None]:
    """One line for people instead of whatever the disk or a library says."""
    try:
        yield
    except (OSError, ValueError, LookupError, av.FFmpegError) as error:
        raise CommitError(
            f"the episode could not be put into {root} ({type(error).__name__}: {error}); its journal is kept, start "
            "again to commit it"
        ) from error

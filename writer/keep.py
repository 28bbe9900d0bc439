"""What becomes of a journal once its episode is in the dataset: deleted, or kept where public MCAP readers open it."""

from __future__ import annotations

import shutil
from pathlib import Path

from writer.sync import make_directories, sync_directory
from writer.workdir import SessionDir, work_dir


def kept_dir(root: Path) -> Path:
    """`ROOT.onbeat/kept`; one folder per session and episode, segments inside."""
    return work_dir(root) / "kept"


def keep_journal(session: SessionDir, episode_id: int, folder: str, *, always: bool = False) -> None:
    """Take a committed episode's journal out of `folder`: away, or into `kept` if the session asked for it.

    Args:
        always: keep it whatever the session asked for.
    """
    origin = session.episode(folder, episode_id)
    if not origin.exists():
        return
    if not (session.keeps_journals or always):
        session.drop(episode_id, folder)
        return
    target = kept_dir(session.root) / f"{session.session_id}-{origin.name}"
    make_directories(target.parent)
    if target.exists():
        shutil.rmtree(target)
    origin.rename(target)
    sync_directory(target.parent)
    sync_directory(origin.parent)

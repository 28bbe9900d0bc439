"""What an earlier session left beside a dataset, as far as it concerns the next one."""

from __future__ import annotations

from pathlib import Path

from transport.errors import OnbeatError, UsageError
from writer.commit_record import CommitRecord
from writer.commit_steps import recover
from writer.leftovers import sessions
from writer.workdir import RootLock, work_dir


def complete_interrupted(root: Path) -> None:
    """Carry a commit that was cut short to its end, so that what is checked next is the dataset as it will be.

    Raises:
        UsageError: somebody else writes the dataset, or the commit cannot be completed.
    """
    work = work_dir(root)
    if not (work / "intent.json").exists():
        return
    lock = RootLock(root, "a commit that is being completed")
    try:
        recover(root, work, CommitRecord(work))
    except (OnbeatError, OSError) as error:
        raise UsageError(f"an interrupted commit could not be completed: {error}") from error
    finally:
        lock.release()


def earlier_episodes(root: Path, session_id: str) -> int:
    """How many unsettled episodes of other sessions lie beside the dataset."""
    others = [session for session in sessions(root) if session.session_id != session_id]
    return sum(len(s.open_recordings()) + len(s.ready()) + len(s.aborted()) for s in others)

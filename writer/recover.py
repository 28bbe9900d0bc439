"""Finish what a crash left beside a dataset: ended episodes are committed, the operator decides about the others.

Nothing is deleted that the operator did not drop, and each step may be killed and repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from transport import ledger
from transport.errors import OnbeatError
from transport.records import EndReason, EpisodeEnded
from writer import commit_steps
from writer.broken_off import read_broken_off
from writer.commit_record import CommitRecord
from writer.journal_join import JoinedEpisode, to_finished
from writer.keep import keep_journal, kept_dir
from writer.leftovers import OPERATORS, Leftover, State, sessions, survey
from writer.mux import write_mp4
from writer.push import keep_due
from writer.recover_spill import hold, take_in
from writer.workdir import RootLock, SessionDir, work_dir

if TYPE_CHECKING:
    from writer.commit import Committer

KEEP, DROP, LEAVE = "keep", "drop", "leave"
Decide = Callable[[Leftover], str]
Tell = Callable[[str], None]


@dataclass(slots=True)
class Recovered:
    """What `recover` did.

    Attributes:
        published, durable: frames of the unsettled episodes; published counts what is known.
        lost: one line for each loss, with its frames.
        left: episodes that nobody decided about.
    """

    published: int = 0
    durable: int = 0
    lost_frames: int = 0
    lost: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    left: int = 0
    failed: int = 0


def recover(root: Path, decide: Decide, tell: Tell, spill_dir: Path) -> Recovered:
    """Settle every episode that is left beside `root`.

    Args:
        decide: KEEP, DROP or LEAVE for an episode that is the operator's to decide.
        tell: one line for people.
        spill_dir: where publishers of this machine left what the writer had not received.

    Raises:
        UsageError: the dataset is being recorded, or a publisher lives that has yet to deliver; names the owner.
        CommitError: an interrupted commit cannot be completed.
    """
    result = Recovered()
    work = work_dir(root)
    lock = RootLock(root, "onbeat recover")
    try:
        with hold(root, spill_dir) as spills:
            completed = commit_steps.recover(root, work, CommitRecord(work))
            if completed is not None:
                index, frames = completed.episode_index, completed.frames
                tell(f"completed the interrupted commit of episode {index} ({frames} frames)")
            for spilled in spills:
                result.lost += take_in(root, spilled, tell)
            for leftover in survey(root):
                _account(leftover, result)
                _settle(root, leftover, decide, tell, result)
            keep_due(root)
            for session in sessions(root):
                _account_end(session, result)
                if session.close():
                    ledger.forget(session.session_id)
    finally:
        lock.release()
    return result


def describe(leftover: Leftover) -> str:
    """One line for people."""
    published = "unknown" if leftover.published is None else str(leftover.published)
    why = f" ({leftover.why})" if leftover.why else ""
    return (
        f"episode {leftover.episode_id} of session {leftover.session.session_id[:8]}: {leftover.state}, "
        f"published {published}, durable {leftover.durable}, lost {leftover.lost}{why}"
    )


def _account(leftover: Leftover, result: Recovered) -> None:
    if leftover.state in (State.COMMITTED, State.DISCARDED):
        return
    result.durable += leftover.durable
    result.published += leftover.seen
    result.lost_frames += leftover.lost
    what = f"episode {leftover.episode_id} of session {leftover.session.session_id[:8]}"
    if leftover.lost:
        result.lost.append(f"{what}: frames {leftover.durable} to {leftover.seen - 1}")
    if leftover.published is None:
        beyond = f"its {leftover.durable} durable ones" if not leftover.lost else f"frame {leftover.seen - 1}"
        result.lost.append(f"{what}: how many frames it had beyond {beyond} is not known any more")
    if leftover.unread and not leftover.durable:
        result.lost.append(f"{what}: its journals cannot be read: {leftover.unread}")


def _account_end(session: SessionDir, result: Recovered) -> None:
    broken = read_broken_off(session)
    if broken is not None and not broken.is_open and broken.published is None:
        result.lost.append(
            f"session {session.session_id[:8]}: what came after episode {broken.episode_id} is not known any more"
        )


def _settle(root: Path, leftover: Leftover, decide: Decide, tell: Tell, result: Recovered) -> None:
    session, episode_id = leftover.session, leftover.episode_id
    if leftover.state is State.COMMITTED:
        keep_journal(session, episode_id, leftover.folder, always=_proves_more(leftover))
        return
    if leftover.state is State.DISCARDED:
        _drop(leftover)
        return
    choice = decide(leftover) if leftover.state in OPERATORS and _is_on_disk(leftover) else KEEP
    if choice == KEEP and leftover.durable == 0:
        # A dataset has no episode without frames; but what cannot be read is deleted only for whoever asks for that.
        choice = LEAVE if leftover.unread else DROP
        if leftover.unread:
            tell(f"unread   {session.episode(leftover.folder, episode_id)} stays; only the decision to drop deletes it")
    if choice == LEAVE:
        result.left += 1
        tell(f"left     {describe(leftover)}")
    elif choice == DROP:
        _drop(leftover)
        result.done["dropped"] += 1
        tell(f"dropped  {describe(leftover)}")
    else:
        try:
            index = _commit(root, leftover)
        except (OnbeatError, OSError, ValueError) as error:
            result.failed += 1
            tell(f"failed   {describe(leftover)}: {error}")
            return
        result.done["committed"] += 1
        tell(f"kept     {describe(leftover)}: episode {index} of {root}")
        if _proves_more(leftover):
            tell(f"unread   its journals, a part of which cannot be read, are in {kept_dir(root)}")


def _is_on_disk(leftover: Leftover) -> bool:
    return leftover.session.episode(leftover.folder, leftover.episode_id).exists()


def _proves_more(leftover: Leftover) -> bool:
    """Whether what cannot be read may hold frames of the episode that the rest does not."""
    return bool(leftover.unread) and (leftover.published is None or leftover.lost > 0)


def _drop(leftover: Leftover) -> None:
    # Noted first: an episode without a trace would be missed the next time.
    leftover.session.set_done(leftover.episode_id, "discarded")
    leftover.session.drop(leftover.episode_id, leftover.folder)


def _commit(root: Path, leftover: Leftover) -> int:
    # Imports lerobot, which takes its time and is not there on every machine that only looks.
    from writer.commit import Committer

    joined = leftover.joined
    assert joined is not None
    spec, schema = joined.header.typed_spec, joined.header.typed_schema
    committer: Committer = Committer(root, work_dir(root), replace(spec, resume=root.exists()), schema)
    finished = to_finished(joined, _closing(joined, leftover))
    committed = committer.commit(finished, lambda key, path: write_mp4(finished.videos[key], spec.fps, path))
    keep_journal(leftover.session, leftover.episode_id, leftover.folder, always=_proves_more(leftover))
    return committed.episode_index


def _closing(joined: JoinedEpisode, leftover: Leftover) -> EpisodeEnded | None:
    if joined.ended is not None and joined.ended.frames == joined.durable_frames:
        return None
    detail = f"recovered: {leftover.durable} of {leftover.published if leftover.published is not None else '?'} frames"
    return EpisodeEnded(leftover.episode_id, joined.durable_frames, EndReason.ABORTED, detail)

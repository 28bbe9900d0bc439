"""What a crash left beside a dataset, read without changing anything.

The states of an episode on disk, and how each is told:

| state     | on disk                                                                      | next                  |
|-----------|------------------------------------------------------------------------------|-----------------------|
| recording | `recording/eN`, no end in its journal: every process died                    | the operator decides  |
| undecided | `recording/eN`, the end is there, the verdict is not                         | the operator decides  |
| ended     | `ready/eN`, or `recording/eN` with the verdict keep                          | is committed          |
| staged    | `intent.json` names it: its renames have been decided                        | the commit goes on    |
| committed | `committed.jsonl` has it; its journal is deleted next                        | nothing               |
| discarded | verdict discard; its journal is deleted next                                 | nothing               |
| aborted   | `aborted/eN`: ended abnormally, lacks frames, or could not be committed      | the operator decides  |

Whatever the folder says, frames count only as far as the journals prove them. An episode in `ready` whose journals
cannot be read counts as aborted: that is the operator's to decide too. Episodes that were published and of which
nothing is on disk are told by the ledger, and by the numbers that are missing between the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from transport import ledger
from transport.records import Judgement
from writer.broken_off import read_broken_off
from writer.commit_record import CommitRecord, read_intent
from writer.journal_join import JoinedEpisode
from writer.resume import read_journals
from writer.workdir import SessionDir, work_dir


class State(StrEnum):
    RECORDING = "recording"
    UNDECIDED = "undecided"
    ENDED = "ended"
    STAGED = "staged"
    COMMITTED = "committed"
    DISCARDED = "discarded"
    ABORTED = "aborted"


OPERATORS = frozenset([State.RECORDING, State.UNDECIDED, State.ABORTED])


@dataclass(frozen=True, slots=True)
class Leftover:
    """One episode that is not settled.

    Attributes:
        folder: recording, ready or aborted.
        durable: frames that the journals prove, from 0 on.
        published: frames that control published; None when nobody knows any more.
        seen: frames that are known to have been published, whoever knows the rest.
        joined: the journals; None when nothing of them can be read.
        why: what is known about how it came to this, for people.
        unread: why its journals, or a part of them, cannot be read; empty when all can.
    """

    session: SessionDir
    episode_id: int
    state: State
    folder: str
    durable: int
    published: int | None
    seen: int
    joined: JoinedEpisode | None
    why: str
    unread: str = ""

    @property
    def lost(self) -> int:
        """Frames that are known to have been published and are not durable."""
        return max(self.seen - self.durable, 0)


def sessions(root: Path) -> list[SessionDir]:
    """The folders of all sessions beside `root`, those that began first in front."""
    folders = [path for path in (work_dir(root) / "sessions").glob("*") if (path / "session.json").exists()]
    folders.sort(key=lambda path: (path / "session.json").stat().st_mtime_ns)
    return [SessionDir(root, path.name) for path in folders]


def survey(root: Path) -> list[Leftover]:
    """Every unsettled episode of every session beside `root`, in the order in which they were recorded."""
    work = work_dir(root)
    committed = CommitRecord(work).episodes
    intent = read_intent(work)
    staged = None if intent is None else (intent.session_id, intent.episode_id)
    found = []
    for session in sessions(root):
        done = session.done()
        mine = {
            **dict.fromkeys(session.open_recordings(), "recording"),
            **dict.fromkeys(session.ready(), "ready"),
            **dict.fromkeys(session.aborted(), "aborted"),
        }
        settled = {episode for session_id, episode in committed if session_id == session.session_id}
        for episode_id, final in done.items():
            if episode_id not in mine and episode_id not in settled and final["state"] == "aborted":
                # Its beginning was lost on the way, so that no journal took the rest.
                mine[episode_id] = "aborted"
        # Begun, and killed before anything of it was on disk.
        mine.update(dict.fromkeys(_unseen(session, {*mine, *done, *settled}), "recording"))
        for episode_id, folder in sorted(mine.items()):
            key = (session.session_id, episode_id)
            known = State.COMMITTED if key in committed else State.STAGED if key == staged else None
            found.append(_leftover(session, episode_id, folder, known))
    return found


def _unseen(session: SessionDir, known: set[int]) -> set[int]:
    """Episodes that must have been: a session counts them from 0."""
    noted = ledger.published(session.session_id)
    newest = max(known | {episode_id if frames else episode_id - 1 for episode_id, frames in noted.items()}, default=-1)
    return set(range(newest + 1)) - known


def _leftover(session: SessionDir, episode_id: int, folder: str, known: State | None) -> Leftover:
    noted = session.done().get(episode_id, {})
    journals = read_journals(session, episode_id, folder)
    joined = journals.joined
    durable = 0 if joined is None else joined.durable_frames
    published, seen = _published(session, episode_id, joined, noted.get("published"))
    ending = joined.ended.detail if joined is not None and joined.ended is not None else ""
    damage = joined.damage if joined is not None else ()
    why = "; ".join(
        dict.fromkeys(part for part in (noted.get("detail", ""), ending, *damage, *journals.unread) if part)
    )
    unread = "; ".join(journals.unread)
    state = known or _state(folder, joined, unread)
    return Leftover(session, episode_id, state, folder, durable, published, max(seen, durable), joined, why, unread)


def _state(folder: str, joined: JoinedEpisode | None, unread: str) -> State:
    if folder == "aborted" or (folder == "ready" and unread and (joined is None or not joined.durable_frames)):
        return State.ABORTED
    if folder == "ready":
        return State.ENDED
    if joined is None or joined.ended is None:
        return State.RECORDING
    if joined.verdict is None:
        return State.UNDECIDED
    if joined.verdict.judgement is Judgement.DISCARD:
        return State.DISCARDED
    whole = joined.durable_frames == joined.ended.frames
    return State.ENDED if joined.verdict.judgement is Judgement.KEEP and whole else State.ABORTED


def _published(
    session: SessionDir, episode_id: int, joined: JoinedEpisode | None, at_its_end: int | None
) -> tuple[int | None, int]:
    """Frames that were published, None when nobody knows; and how many there were at least."""
    seen = [0 if at_its_end is None else at_its_end]
    known = at_its_end is not None
    if joined is not None and joined.ended is not None:
        seen.append(joined.ended.frames)
        known = True
    noted = ledger.published(session.session_id)
    if episode_id in noted:
        seen.append(noted[episode_id])
        known = True
    broken = read_broken_off(session)
    if broken is not None and broken.is_open and broken.episode_id == episode_id:
        # Its end was never written by control, and says no more than what was spilled.
        seen.append(broken.published or 0)
        known = broken.published is not None
    return (max(seen) if known else None), max(seen)

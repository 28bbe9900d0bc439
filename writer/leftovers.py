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

Whatever the folder says, frames count only as far as the journals prove them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from transport import ledger
from transport.records import Judgement
from writer.commit_record import CommitRecord, read_intent
from writer.errors import JournalError
from writer.journal_join import JoinedEpisode
from writer.resume import read_episode
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
        joined: the journals; None when nothing of them can be read.
        why: what is known about how it came to this, for people.
    """

    session: SessionDir
    episode_id: int
    state: State
    folder: str
    durable: int
    published: int | None
    joined: JoinedEpisode | None
    why: str

    @property
    def lost(self) -> int:
        """Frames that were published and are not durable."""
        return max((self.published or 0) - self.durable, 0)


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
        mine = [
            *((number, "recording") for number in session.open_recordings()),
            *((number, "ready") for number in session.ready()),
            *((number, "aborted") for number in session.aborted()),
        ]
        noted = ledger.published(session.session_id)
        if noted is not None and noted[1] and noted[0] not in {*dict(mine), *session.done()}:
            # Begun, and killed before anything of it was on disk.
            mine.append((noted[0], "recording"))
        for episode_id, folder in sorted(mine):
            key = (session.session_id, episode_id)
            known = State.COMMITTED if key in committed else State.STAGED if key == staged else None
            found.append(_leftover(session, episode_id, folder, known))
    return found


def _leftover(session: SessionDir, episode_id: int, folder: str, known: State | None) -> Leftover:
    noted = session.done().get(episode_id, {})
    why = str(noted.get("detail", ""))
    try:
        joined = read_episode(session, episode_id, folder)
    except JournalError as error:
        joined, why = None, str(error)
    durable = 0 if joined is None else joined.durable_frames
    published = _published(session, episode_id, joined, noted.get("published"))
    if joined is not None:
        why = "; ".join(part for part in (why, joined.ended.detail if joined.ended else "", *joined.damage) if part)
    state = known or _state(folder, joined)
    return Leftover(session, episode_id, state, folder, durable, published, joined, why)


def _state(folder: str, joined: JoinedEpisode | None) -> State:
    if folder == "aborted":
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
) -> int | None:
    if joined is not None and joined.ended is not None:
        return joined.ended.frames
    if at_its_end is not None:
        return at_its_end
    noted = ledger.published(session.session_id)
    return noted[1] if noted is not None and noted[0] == episode_id else None

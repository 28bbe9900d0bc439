"""Where a session stands on disk: read when a writer process takes it up, for the first time or again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from writer.errors import JournalError
from writer.journal_join import JoinedEpisode, join
from writer.journal_read import read_segment
from writer.journal_thread import settle
from writer.workdir import SessionDir


@dataclass(frozen=True, slots=True)
class OpenEpisode:
    """An episode whose verdict is not durable."""

    episode_id: int
    task: str
    frames: int
    next_segment: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What is durable, and the episode to go on with."""

    durable_seq: int
    open: OpenEpisode | None
    session_ended: bool


def read_episode(session: SessionDir, episode_id: int, state: str) -> JoinedEpisode | None:
    """The episode's segments, joined; None when nothing of it is durable.

    A segment whose header is damaged counts as absent: what it held cannot be told apart from noise.

    Raises:
        JournalError: the segments contradict each other.
    """
    segments = []
    for path in sorted(session.episode(state, episode_id).glob("segment-*.mcap")):
        with contextlib.suppress(JournalError):
            segments.append(read_segment(path))
    return join(segments) if segments else None


def next_segment(session: SessionDir, episode_id: int) -> int:
    """A number that no segment of the episode has, readable or not."""
    names = [path.stem for path in session.episode("recording", episode_id).glob("segment-*.mcap")]
    return max((int(name.removeprefix("segment-")) for name in names), default=-1) + 1


def standing(session: SessionDir) -> Standing:
    """Read the journals of a session, finish interrupted moves, and say where to go on."""
    progress = session.progress()
    durable_seq, opened = int(progress["durable_seq"]), None
    done = session.done()
    for episode_id in session.open_recordings():
        if done.get(episode_id, {}).get("state") == "discarded":
            session.drop(episode_id, "recording")
            continue
        joined = read_episode(session, episode_id, "recording")
        if joined is None or joined.durable_seq is None:
            # Nothing is whole: the log still has all of it, from EPISODE_BEGAN on.
            session.drop(episode_id, "recording")
            continue
        durable_seq = max(durable_seq, joined.durable_seq)
        if joined.verdict is not None and joined.ended is not None:
            whole = joined.durable_frames == joined.ended.frames
            lacking = "" if whole else f"frames from {joined.durable_frames} on"
            settle(session, joined.verdict, durable_seq, frames=joined.durable_frames, lacking=lacking)
        else:
            segment = next_segment(session, episode_id)
            opened = OpenEpisode(episode_id, joined.task, joined.durable_frames, segment, joined.ended is not None)
    return Standing(durable_seq, opened, bool(progress["session_ended"]))

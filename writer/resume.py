"""Where a session stands on disk: read when a writer process takes it up, for the first time or again."""

from __future__ import annotations

from dataclasses import dataclass

from writer.errors import JournalError
from writer.journal_join import JoinedEpisode, join
from writer.journal_read import Segment, read_segment
from writer.settle import settle
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


@dataclass(frozen=True, slots=True)
class Journals:
    """What lies on disk of one episode.

    Attributes:
        joined: what its segments prove; None when nothing of them can be read.
        unread: files whose bytes prove nothing and may be of the episode, one line each.
    """

    joined: JoinedEpisode | None
    unread: tuple[str, ...]


def read_journals(session: SessionDir, episode_id: int, state: str) -> Journals:
    """Read an episode's segments as far as they can be.

    Raises:
        OSError: the disk cannot be read.
    """
    segments: list[Segment] = []
    folder = session.episode(state, episode_id)
    unread = [f"{path} was set aside" for path in sorted(folder.glob("unread-*.mcap"))]
    for path in sorted(folder.glob("segment-*.mcap")):
        try:
            segments.append(read_segment(path))
        except JournalError as error:
            unread.append(str(error))
    if not segments:
        return Journals(None, tuple(unread))
    try:
        joined = join(segments)
    except JournalError as error:
        return Journals(None, (*unread, str(error)))
    if not joined.durable_frames:
        # What a kill tears is nothing that anybody counted on; other damage may hide what was durable.
        unread += [f"{s.path}: {s.damage}" for s in segments if s.damage and not s.torn]
        first = segments[0]
        if first.header.first_frame_index and not unread:
            unread.append(f"{first.path} begins with frame {first.header.first_frame_index}, what was before is gone")
    return Journals(joined, tuple(unread))


def read_episode(session: SessionDir, episode_id: int, state: str) -> JoinedEpisode | None:
    """The episode's segments, joined; None when nothing of it is durable.

    A segment whose header is damaged counts as absent: what it held cannot be told apart from noise.

    Raises:
        JournalError: none of them can be read, or they contradict each other.
    """
    journals = read_journals(session, episode_id, state)
    if journals.joined is None and journals.unread:
        raise JournalError("; ".join(journals.unread))
    return journals.joined


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
        journals = read_journals(session, episode_id, "recording")
        joined = journals.joined
        if joined is None or joined.durable_seq is None:
            # The log may still have all of it, from EPISODE_BEGAN on.
            if journals.unread:
                _set_aside(session, episode_id)
            else:
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


def _set_aside(session: SessionDir, episode_id: int) -> None:
    """Give segments that prove nothing other names: they stay, for `onbeat recover`, and the episode begins anew."""
    folder = session.episode("recording", episode_id)
    number = len(list(folder.glob("unread-*.mcap")))
    for path in sorted(folder.glob("segment-*.mcap")):
        path.rename(folder / f"unread-{number:03d}.mcap")
        number += 1

"""Where a session's log stands at the end of what was spilled, and how it is closed if it breaks off there. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from transport.records import (
    EndReason,
    EpisodeBegan,
    EpisodeEnded,
    Event,
    Judgement,
    RecordKind,
    SessionEnded,
    Verdict,
    unpack_event,
)
from transport.spill_format import SpilledRecord

_WHY = "the recorder was killed"


@dataclass(slots=True)
class SpilledLog:
    """Takes the spilled records in order.

    Attributes:
        next_seq: of the record that would follow.
        newest_id: the newest episode; -1 before the first.
        open_frames: frames of the newest episode so far while it has no end; None while no episode is open.
        undecided: the episode that has ended and has no verdict.
        ended: the session's end is there.
    """

    next_seq: int = 1
    newest_id: int = -1
    open_frames: int | None = None
    undecided: int | None = None
    ended: bool = False

    def take(self, record: SpilledRecord) -> None:
        """The next record.

        Raises:
            CodecError: it is an event of no known form.
        """
        header = record.header
        self.next_seq = header.seq + 1
        if header.kind is RecordKind.FRAME:
            self.newest_id, self.open_frames = header.episode_id, header.frame_index + 1
            return
        event = unpack_event(header.kind, bytes(record.parts[0]))
        if isinstance(event, EpisodeBegan):
            self.newest_id, self.open_frames = event.episode_id, 0
        elif isinstance(event, EpisodeEnded):
            self.newest_id, self.open_frames, self.undecided = event.episode_id, None, event.episode_id
        elif isinstance(event, Verdict):
            self.newest_id, self.undecided = event.episode_id, None
        else:
            self.ended = True

    def closing(self, published: int | None) -> list[Event]:
        """What a publisher would have appended in control's place.

        Args:
            published: frames that the open episode is known to have had; None when nobody knows.
        """
        events: list[Event] = []
        if self.ended:
            return events
        undecided = self.undecided
        if self.open_frames is not None:
            frames = max(self.open_frames, published or 0)
            events.append(EpisodeEnded(self.newest_id, frames, EndReason.ABORTED, _WHY))
            undecided = self.newest_id
        if undecided is not None:
            events.append(Verdict(undecided, Judgement.ABORTED))
        return [*events, SessionEnded(_WHY)]

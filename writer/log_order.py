"""Whether a record may follow what came before it: pure bookkeeping of one session's log.

A log that control wrote is always in order, and a gap leaves out a piece of it: then an episode's beginning, end or
verdict may be missing. What no log can hold, gap or not, comes from a peer that is broken or hostile.
"""

from __future__ import annotations

from transport.errors import CodecError
from transport.records import EpisodeBegan, EpisodeEnded, Event, SessionEnded, Verdict


class LogOrder:
    """Follows the episode that is open.

    Args:
        open_episode: the episode that is open already, with its frames and whether its end is known; None for none.
        newest_id: the newest episode there has been, -1 for none.

    Attributes:
        open_id: the episode that is open; None for none.
        has_ended: whether it has, and only its verdict is missing.
        newest_id: as above.
    """

    def __init__(self, open_episode: tuple[int, int, bool] | None, newest_id: int) -> None:
        self.open_id: int | None = None
        self.has_ended = False
        self._next_frame = 0
        self.newest_id = newest_id
        self._session_ended = False
        if open_episode is not None:
            self.open_id, self._next_frame, self.has_ended = open_episode
            self.newest_id = max(newest_id, self.open_id)

    def frame(self, episode_id: int, frame_index: int) -> None:
        """Take a frame.

        Raises:
            CodecError: it belongs to an episode that is over, or was there before.
        """
        self._check_open()
        if episode_id < self.newest_id or (episode_id == self.newest_id and episode_id != self.open_id):
            raise CodecError("a frame of an episode that is over")
        if episode_id != self.open_id:
            return  # its beginning is in a gap
        if self.has_ended or frame_index < self._next_frame:
            raise CodecError("a frame behind its episode's end, or a second time")
        self._next_frame = frame_index + 1

    def event(self, event: Event) -> None:
        """Take another record.

        Raises:
            CodecError: it cannot stand here in any log.
        """
        self._check_open()
        if isinstance(event, SessionEnded):
            self._session_ended = True
            self.open_id = None
            return
        if isinstance(event, EpisodeBegan):
            if event.episode_id <= self.newest_id:
                raise CodecError("the beginning of an episode that is over")
            self.open_id, self.newest_id = event.episode_id, event.episode_id
            self.has_ended, self._next_frame = False, 0
        elif event.episode_id < self.newest_id:
            raise CodecError("the end of an episode that is over")
        elif event.episode_id == self.open_id and isinstance(event, EpisodeEnded):
            if self.has_ended:
                raise CodecError("an episode's second end")
            self.has_ended = True
        elif event.episode_id == self.open_id and isinstance(event, Verdict):
            self.open_id = None

    def _check_open(self) -> None:
        if self._session_ended:
            raise CodecError("a record behind the session's end")
